package podspec

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/equal"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

var (
	specPath        = field.NewPath("spec")
	annotationsPath = field.NewPath("metadata", "annotations")
)

// ValidateNewPod checks a new pod; its metadata has been looked at.
func ValidateNewPod(pod *corev1.Pod) field.ErrorList {
	var l check.List
	l.All(validatePodWhole(pod, nil))
	if len(pod.Spec.EphemeralContainers) > 0 {
		l.Add(field.Forbidden(specPath.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0 {
		l.Add(field.Forbidden(specPath.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	l.All(annotationsAgree(pod.Annotations, &pod.Spec, specPath))
	return l.ErrorList
}

// validatePodWhole checks what must hold of every pod, new or changed.
func validatePodWhole(pod, old *corev1.Pod) field.ErrorList {
	c := &specCheck{spec: &pod.Spec}
	var oldSpec *corev1.PodSpec
	if old != nil {
		oldSpec = &old.Spec
	}
	c.All(validateAnnotations(pod.Annotations, &pod.Spec, annotationsPath))
	c.All(validateSpec(&pod.Spec, &pod.ObjectMeta, specPath, oldSpec))
	if pod.Spec.ServiceAccountName == "" {
		for i := range pod.Spec.Volumes {
			if p := pod.Spec.Volumes[i].Projected; p != nil {
				for k := range p.Sources {
					if p.Sources[k].ServiceAccountToken != nil {
						c.Add(field.Forbidden(specPath.Child("volumes").Index(i).Child("projected").Child("sources").Index(k).Child("serviceAccountToken"),
							"must not be specified when serviceAccountName is not set"))
					}
				}
			}
		}
	}
	if t := pod.Spec.TerminationGracePeriodSeconds; t != nil {
		c.NotNegative(specPath.Child("terminationGracePeriodSeconds"), *t)
	}
	for i := range pod.Spec.Containers {
		c.imageTrimmed(&pod.Spec.Containers[i], specPath.Child("containers").Index(i))
	}
	for i := range pod.Spec.InitContainers {
		c.imageTrimmed(&pod.Spec.InitContainers[i], specPath.Child("initContainers").Index(i))
	}
	return c.ErrorList
}

// validateAnnotationChanges: annotations that say what a pod is cannot come or go.
func validateAnnotationChanges(pod, old *corev1.Pod) field.ErrorList {
	var l check.List
	for _, key := range slices.Sorted(maps.Keys(old.Annotations)) {
		if now, has := pod.Annotations[key]; has && now == old.Annotations[key] {
			continue
		}
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			l.Add(field.Forbidden(annotationsPath.Key(key), "may not remove or update AppArmor annotations"))
		}
		if key == corev1.MirrorPodAnnotationKey {
			l.Add(field.Forbidden(annotationsPath.Key(key), "may not remove or update mirror pod annotation"))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(pod.Annotations)) {
		if _, had := old.Annotations[key]; had {
			continue
		}
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			l.Add(field.Forbidden(annotationsPath.Key(key), "may not add AppArmor annotations"))
		}
		if key == corev1.MirrorPodAnnotationKey {
			l.Add(field.Forbidden(annotationsPath.Key(key), "may not add mirror pod annotation"))
		}
	}
	l.All(validateAnnotations(pod.Annotations, &pod.Spec, annotationsPath))
	return l.ErrorList
}

const mutableFields = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// ValidatePodUpdate checks a change of a pod: nearly all of a spec stays as it is.
func ValidatePodUpdate(pod, old *corev1.Pod) field.ErrorList {
	c := &specCheck{}
	c.All(check.PodMeta(pod))
	c.All(validatePodWhole(pod, old))
	c.All(validateAnnotationChanges(pod, old))
	if !c.containersStay(pod.Spec.Containers, old.Spec.Containers, specPath.Child("containers")) ||
		!c.containersStay(pod.Spec.InitContainers, old.Spec.InitContainers, specPath.Child("initContainers")) {
		return c.ErrorList
	}
	c.deadlineChange(pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds)
	c.tolerationChange(pod.Spec.Tolerations, old.Spec.Tolerations)
	c.gateChange(pod.Spec.SchedulingGates, old.Spec.SchedulingGates)
	if equal.Semantic(&pod.Spec, &old.Spec) {
		return c.ErrorList
	}
	rest := c.withoutMutable(pod, old)
	if !equal.Semantic(rest, &old.Spec) {
		c.Add(field.Forbidden(specPath, fmt.Sprintf("pod updates may not change fields other than %s\n%v", mutableFields, shape.Diff(old.Spec, *rest))))
	}
	return c.ErrorList
}

func (c *specCheck) containersStay(now, before []corev1.Container, at *field.Path) bool {
	if len(now) != len(before) {
		c.Add(field.Forbidden(at, "pod updates may not add or remove containers"))
		return false
	}
	for i := range now {
		c.Require(child(index(at, i), "image"), now[i].Image)
		c.imageTrimmed(&now[i], index(at, i))
	}
	return true
}

func (c *specCheck) deadlineChange(now, before *int64) {
	at := specPath.Child("activeDeadlineSeconds")
	switch {
	case now == nil && before != nil:
		c.Add(field.Invalid(at, now, "must not update from a positive integer to nil value"))
	case now == nil:
	case *now < 0 || *now > math.MaxInt32:
		c.Add(field.Invalid(at, *now, validation.InclusiveRangeError(0, math.MaxInt32)))
	case before != nil && *before < *now:
		c.Add(field.Invalid(at, *now, "must be less than or equal to previous value"))
	}
}

func (c *specCheck) tolerationChange(now, before []corev1.Toleration) {
	at := specPath.Child("tolerations")
	for _, old := range before {
		kept := slices.ContainsFunc(now, func(t corev1.Toleration) bool {
			t.TolerationSeconds = old.TolerationSeconds
			return apiequality.Semantic.DeepEqual(t, old)
		})
		if !kept {
			c.Add(field.Forbidden(at, "existing toleration can not be modified except its tolerationSeconds"))
			return
		}
	}
	c.tolerations(now, at)
}

func (c *specCheck) gateChange(now, before []corev1.PodSchedulingGate) {
	for i, g := range now {
		if !slices.Contains(before, g) {
			c.Add(field.Forbidden(specPath.Child("schedulingGates").Index(i).Child("name"),
				fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}
}

// withoutMutable is the new spec with everything that may change put back to what it was.
func (c *specCheck) withoutMutable(pod, old *corev1.Pod) *corev1.PodSpec {
	rest, was := pod.Spec.DeepCopy(), &old.Spec
	for i := range rest.Containers {
		rest.Containers[i].Image = was.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = was.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = was.ActiveDeadlineSeconds
	rest.SchedulingGates = was.SchedulingGates
	rest.Tolerations = was.Tolerations
	if t := was.TerminationGracePeriodSeconds; t != nil && *t < 0 && rest.TerminationGracePeriodSeconds != nil && *rest.TerminationGracePeriodSeconds == 1 {
		rest.TerminationGracePeriodSeconds = t
	}
	if len(was.SchedulingGates) > 0 {
		c.gated(rest, was)
	}
	return rest
}

// gated: before a pod may be scheduled, the choice of nodes may be narrowed.
func (c *specCheck) gated(rest, was *corev1.PodSpec) {
	for key, value := range was.NodeSelector {
		if now, has := rest.NodeSelector[key]; !has || now != value {
			c.Add(field.Invalid(specPath.Child("nodeSelector"), rest.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	rest.NodeSelector = was.NodeSelector
	var before, now *corev1.NodeAffinity
	if was.Affinity != nil {
		before = was.Affinity.NodeAffinity
	}
	if rest.Affinity != nil {
		now = rest.Affinity.NodeAffinity
	}
	if !apiequality.Semantic.DeepEqual(before, now) {
		c.narrowed(now, before)
	}
	switch {
	case rest.Affinity == nil && before == nil:
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: before}
	case was.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = before
	}
}

func (c *specCheck) narrowed(now, before *corev1.NodeAffinity) {
	if before == nil || before.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return
	}
	at := specPath.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	old := before.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	var terms []corev1.NodeSelectorTerm
	if now != nil && now.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms = now.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	if len(old) > 0 && len(old) != len(terms) {
		c.Add(field.Invalid(at, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
		return
	}
	for i := range old {
		if !onlyAdded(&terms[i], &old[i]) {
			c.Add(field.Invalid(at.Index(i), terms[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
}

// onlyAdded says whether a term has all that it had, in front. An empty one matches nothing, and adding widens it.
func onlyAdded(now, before *corev1.NodeSelectorTerm) bool {
	if len(before.MatchExpressions) == 0 && len(before.MatchFields) == 0 {
		return len(now.MatchExpressions) == 0 && len(now.MatchFields) == 0
	}
	prefix := func(now, before []corev1.NodeSelectorRequirement) bool {
		return len(now) >= len(before) && (len(before) == 0 || apiequality.Semantic.DeepEqual(now[:len(before)], before))
	}
	return prefix(now.MatchExpressions, before.MatchExpressions) && prefix(now.MatchFields, before.MatchFields)
}

// ValidateEphemeralUpdate: ephemeral containers come, and neither change nor go.
func ValidateEphemeralUpdate(pod, old *corev1.Pod) field.ErrorList {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	var l check.List
	l.All(check.PodMeta(pod))
	l.All(validatePodWhole(pod, old))
	l.All(validateAnnotationChanges(pod, old))
	at := specPath.Child("ephemeralContainers")
	for _, was := range old.Spec.EphemeralContainers {
		i := slices.IndexFunc(pod.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == was.Name })
		if i < 0 {
			l.Add(field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		} else if now := pod.Spec.EphemeralContainers[i]; !apiequality.Semantic.DeepEqual(was, now) {
			l.Add(field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, shape.Diff(was, now))))
		}
	}
	return l.ErrorList
}
