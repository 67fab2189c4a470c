package deployment

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// maxHistory is how many characters of past revision numbers a ReplicaSet carries.
const maxHistory = 2000

// split finds the set that has d's template (the oldest, should several have it) and the others, oldest first.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (new *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	sets = slices.Clone(sets)
	oldestFirst(sets)
	for _, set := range sets {
		if new == nil && sameTemplate(&set.Spec.Template, &d.Spec.Template) {
			new = set
			continue
		}
		old = append(old, set)
	}
	return new, old
}

// sameTemplate compares without the hash label, which only ReplicaSets have.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	without := func(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
		if _, has := t.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; !has {
			return t
		}
		c := *t
		c.Labels = maps.Clone(t.Labels)
		delete(c.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		return &c
	}
	return equality.Semantic.DeepEqual(without(a), without(b))
}

// revision is the number of set's revision, zero if it has none.
func revision(set *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(set.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// nextRevision is one more than that of any old set.
func nextRevision(old []*appsv1.ReplicaSet) int64 {
	last := int64(0)
	for _, set := range old {
		last = max(last, revision(set))
	}
	return last + 1
}

// newSet answers the ReplicaSet for d's template.
func newSet(d *appsv1.Deployment, old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	hash := control.TemplateHash(&d.Spec.Template, d.Status.CollisionCount)
	template := d.Spec.Template.DeepCopy()
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	selector := d.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = map[string]string{}
	}
	selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: setName(d.Name, hash), Namespace: d.Namespace, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{control.Reference(d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To(grown(d, old, nil)), MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template,
		},
	}
	annotate(d, set, nextRevision(old))
	annotateSize(d, set)
	return set
}

// setName cuts the deployment's name where the hash would not fit.
func setName(deployment, hash string) string {
	const maxName = 253
	if keep := maxName - len(hash) - 1; len(deployment) > keep {
		deployment = deployment[:keep]
	}
	return deployment + "-" + hash
}

// notCopied are annotations of a deployment that mean something else, or something wrong, on its sets.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	revisionAnnotation:                 true,
	historyAnnotation:                  true,
	desiredAnnotation:                  true,
	maxAnnotation:                      true,
	appsv1.DeprecatedRollbackTo:        true,
}

// annotate copies d's annotations to its new set and gives that the revision number, unless it has a higher one. A set that
// becomes the new one again, by a roll-back, keeps its former numbers in the history.
func annotate(d *appsv1.Deployment, set *appsv1.ReplicaSet, revisionNumber int64) (changed bool) {
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if has, ok := set.Annotations[k]; notCopied[k] || (ok && has == v) {
			continue
		}
		set.Annotations[k] = v
		changed = true
	}
	was, had := set.Annotations[revisionAnnotation]
	if had && was != "" {
		if _, err := strconv.ParseInt(was, 10, 64); err != nil {
			return changed // somebody's own number: left alone
		}
	}
	if revision(set) >= revisionNumber {
		return changed
	}
	set.Annotations[revisionAnnotation] = strconv.FormatInt(revisionNumber, 10)
	if had {
		set.Annotations[historyAnnotation] = appendHistory(set.Annotations[historyAnnotation], was)
	}
	return true
}

func appendHistory(history, revision string) string {
	if history == "" {
		return revision
	}
	past := append(strings.Split(history, ","), revision)
	joined := strings.Join(past, ",")
	for len(joined) > maxHistory && len(past) > 1 {
		past = past[1:]
		joined = strings.Join(past, ",")
	}
	return joined
}

// annotateSize notes the sizes that the next proportional scaling computes shares from.
func annotateSize(d *appsv1.Deployment, set *appsv1.ReplicaSet) (changed bool) {
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	for k, n := range map[string]int32{desiredAnnotation: desired(d), maxAnnotation: desired(d) + maxSurge(d)} {
		if v := strconv.Itoa(int(n)); set.Annotations[k] != v {
			set.Annotations[k] = v
			changed = true
		}
	}
	return changed
}

// resized says that the deployment's size has changed since its active sets were last sized.
func resized(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	for _, set := range active(sets) {
		if was, err := strconv.Atoi(set.Annotations[desiredAnnotation]); err == nil && int32(was) != desired(d) {
			return true
		}
	}
	return false
}

// surplus answers the old sets beyond the history limit, lowest revision first, that are empty and settled.
func surplus(d *appsv1.Deployment, old []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	if d.Spec.RevisionHistoryLimit == nil {
		return nil
	}
	var alive []*appsv1.ReplicaSet
	for _, set := range old {
		if set.DeletionTimestamp == nil {
			alive = append(alive, set)
		}
	}
	over := len(alive) - int(*d.Spec.RevisionHistoryLimit)
	if over <= 0 {
		return nil
	}
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revision(a), revision(b)), compareAge(a, b))
	})
	var gone []*appsv1.ReplicaSet
	for _, set := range alive[:over] {
		if size(set) == 0 && set.Status.Replicas == 0 && set.Generation <= set.Status.ObservedGeneration {
			gone = append(gone, set)
		}
	}
	return gone
}
