package replicaset

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// burst is how many pods one reconcile creates or deletes at most; the next one continues with a fresh look.
const burst = 500

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	object, found, err := c.sets.Informer.GetIndexer().GetByKey(key)
	if err != nil || !found {
		c.writes.Forget(key)
		return err
	}
	set, ok := c.sets.View(object)
	if !ok {
		return nil
	}
	owned, terminating, err := c.ownedPods(ctx, key, set)
	if err != nil {
		return err
	}
	var syncErr error
	if set.DeletionTimestamp == nil {
		create, remove := plan(set, owned, c.neighbours(set), c.env.Clock.Now())
		syncErr = c.apply(ctx, key, set, create, remove)
	}
	now := c.env.Clock.Now()
	wanted, recheck := status(set, owned, terminating, syncErr, now)
	if !c.sets.CountTerminating {
		wanted.TerminatingReplicas = nil
	}
	if err := c.writeStatus(ctx, key, set, wanted); err != nil {
		return err
	}
	if syncErr == nil && recheck > 0 {
		c.loop.AddAfter(key, recheck)
	}
	return syncErr
}

// ownedPods answers the active and the terminating pods of set, after adopting and releasing. A pod that this controller
// has deleted counts as terminating even before the cache shows it.
func (c *Controller) ownedPods(ctx context.Context, key string, set *appsv1.ReplicaSet) (active, terminating []*corev1.Pod, err error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, nil, nil // the server refuses such a selector; nothing to retry
	}
	mine := control.OwnedBy[*corev1.Pod](c.index, set.UID)
	seen := make(map[types.UID]bool, len(mine))
	var candidates []*corev1.Pod
	for _, pod := range mine {
		switch {
		case control.Active(pod) && c.writes.Gone(key, pod.UID):
			seen[pod.UID] = true
			terminating = append(terminating, pod)
		case control.Active(pod):
			candidates = append(candidates, pod)
		case control.Terminating(pod) && selector.Matches(labels.Set(pod.Labels)):
			terminating = append(terminating, pod)
		}
	}
	c.writes.Retain(key, func(uid types.UID) bool { return seen[uid] })
	for _, pod := range control.Orphans[*corev1.Pod](c.index, set.Namespace) {
		if control.Active(pod) && selector.Matches(labels.Set(pod.Labels)) {
			candidates = append(candidates, pod)
		}
	}
	claim := control.Claim[*corev1.Pod]{
		Owner: set, Kind: c.sets.Kind, Selector: selector,
		Live: func(ctx context.Context) (metav1.Object, error) { return c.sets.Live(ctx, set.Namespace, set.Name) },
		Patch: func(ctx context.Context, pod *corev1.Pod, patch []byte) error {
			patched, err := c.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			if err == nil {
				c.writes.Wrote(key, c.index, patched)
			}
			return err
		},
	}
	active, err = claim.From(ctx, candidates)
	return active, terminating, err
}

// plan says how far the owned pods are from what set asks for. It reads no clock, cache or network.
func plan(set *appsv1.ReplicaSet, owned []*corev1.Pod, neighbours func(node string) int, now time.Time) (create int, remove []*corev1.Pod) {
	missing := int(ptr.Deref(set.Spec.Replicas, 1)) - len(owned)
	if missing >= 0 {
		return min(missing, burst), nil
	}
	surplus := min(-missing, burst)
	if surplus < len(owned) {
		owned = append([]*corev1.Pod(nil), owned...)
		control.CheapestFirst(owned, neighbours, now)
	}
	return 0, owned[:surplus]
}

// neighbours counts the active pods per node of all sets that set's owner has (of a Deployment, say): while it shrinks,
// doubled-up pods go first, whichever of the sets they belong to.
func (c *Controller) neighbours(set *appsv1.ReplicaSet) func(node string) int {
	var count map[string]int
	return func(node string) int {
		if count == nil {
			count = c.countByNode(set)
		}
		return count[node]
	}
}

func (c *Controller) countByNode(set *appsv1.ReplicaSet) map[string]int {
	uids := []types.UID{set.UID}
	if owner := metav1.GetControllerOfNoCopy(set); owner != nil {
		uids = uids[:0]
		for _, object := range control.OwnedBy[metav1.Object](c.sets.Informer.GetIndexer(), owner.UID) {
			uids = append(uids, object.GetUID())
		}
	}
	count := map[string]int{}
	for _, uid := range uids {
		for _, pod := range control.OwnedBy[*corev1.Pod](c.index, uid) {
			if control.Active(pod) {
				count[pod.Spec.NodeName]++
			}
		}
	}
	return count
}

func (c *Controller) apply(ctx context.Context, key string, set *appsv1.ReplicaSet, create int, remove []*corev1.Pod) error {
	owner := c.sets.Real(set)
	if create > 0 {
		reference := control.Reference(set, c.sets.Kind)
		_, err := control.Grow(ctx, create, func(ctx context.Context, _ int) error {
			pod, err := c.pods.Create(ctx, owner, control.PodFrom(&set.Spec.Template, set, reference))
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return nil // every create will fail, and none is wanted any more
			}
			if err == nil {
				c.writes.Wrote(key, c.index, pod)
			}
			return err
		})
		return err
	}
	return control.Each(ctx, len(remove), func(ctx context.Context, i int) error {
		err := c.pods.Delete(ctx, owner, remove[i])
		if err == nil {
			c.writes.Deleted(key, remove[i].UID)
		}
		return err
	})
}

// status counts. recheck says when a ready pod will have become available.
func status(set *appsv1.ReplicaSet, owned, terminating []*corev1.Pod, syncErr error, now time.Time) (s appsv1.ReplicaSetStatus, recheck time.Duration) {
	set.Status.DeepCopyInto(&s)
	s.ObservedGeneration = set.Generation
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = int32(len(owned)), 0, 0, 0
	s.TerminatingReplicas = ptr.To(int32(len(terminating)))
	template := labels.SelectorFromSet(set.Spec.Template.Labels)
	for _, pod := range owned {
		if template.Matches(labels.Set(pod.Labels)) {
			s.FullyLabeledReplicas++
		}
		if !control.Ready(pod) {
			continue
		}
		s.ReadyReplicas++
		available, in := control.Available(pod, set.Spec.MinReadySeconds, now)
		if available {
			s.AvailableReplicas++
		} else if in > 0 && (recheck == 0 || in < recheck) {
			recheck = in
		}
	}

	at := -1
	for i := range s.Conditions {
		if s.Conditions[i].Type == appsv1.ReplicaSetReplicaFailure {
			at = i
		}
	}
	switch {
	case syncErr != nil && at < 0:
		reason := "FailedCreate"
		if int32(len(owned)) > ptr.Deref(set.Spec.Replicas, 1) {
			reason = "FailedDelete"
		}
		s.Conditions = append(s.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason,
			Message: syncErr.Error(), LastTransitionTime: metav1.NewTime(now),
		})
	case syncErr == nil && at >= 0:
		s.Conditions = append(s.Conditions[:at], s.Conditions[at+1:]...)
	}
	return s, recheck
}

// writeStatus writes what has changed. A conflict with somebody else's write is retried once on the live object: the
// status that was computed is no less true for it.
func (c *Controller) writeStatus(ctx context.Context, key string, set *appsv1.ReplicaSet, wanted appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, wanted) {
		return nil
	}
	updated := set.DeepCopy()
	updated.Status = wanted
	written, err := c.sets.UpdateStatus(ctx, updated)
	if apierrors.IsConflict(err) {
		live, getErr := c.sets.Live(ctx, set.Namespace, set.Name)
		if getErr != nil || live.UID != set.UID {
			return ignoreNotFound(getErr)
		}
		live.Status = wanted
		written, err = c.sets.UpdateStatus(ctx, live)
	}
	if err != nil {
		return ignoreNotFound(err)
	}
	c.writes.Wrote(key, c.sets.Informer.GetStore(), written)
	return nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
