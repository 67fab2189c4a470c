package statefulset

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/history"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	set, err := c.sets.StatefulSets(namespace).Get(name)
	if err != nil {
		c.writes.Forget(key)
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil // the server refuses such a selector; nothing to retry
	}
	live := func(ctx context.Context) (metav1.Object, error) {
		return c.env.Client.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	revisions, err := c.history.List(ctx, key, set, kind, selector, live)
	if err != nil {
		return err
	}
	pods, err := c.pods(ctx, key, set, selector, live)
	if err != nil {
		return err
	}
	current, update, collisions, err := c.revisions(ctx, key, set, revisions)
	if err != nil {
		return err
	}
	s := state{set: set, pods: pods, current: current.Name, update: update.Name, now: c.env.Clock.Now()}
	var stepErr error
	if set.DeletionTimestamp == nil {
		stepErr = c.do(ctx, key, s, current, update)
	}
	if err := c.writeStatus(ctx, key, set, s.status(collisions)); err != nil {
		return err
	}
	if stepErr != nil {
		return stepErr
	}
	c.recheck(key, s)
	inUse := map[string]bool{current.Name: true, update.Name: true}
	for _, pod := range pods {
		inUse[revisionOf(pod)] = true
	}
	return c.history.Truncate(ctx, revisions, inUse, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))
}

func (c *Controller) pods(ctx context.Context, key string, set *appsv1.StatefulSet, selector labels.Selector, live func(ctx context.Context) (metav1.Object, error)) ([]*corev1.Pod, error) {
	candidates := control.OwnedBy[*corev1.Pod](c.podIndex, set.UID)
	for _, pod := range control.Orphans[*corev1.Pod](c.podIndex, set.Namespace) {
		if selector.Matches(labels.Set(pod.Labels)) {
			candidates = append(candidates, pod)
		}
	}
	pods, err := control.Claim[*corev1.Pod]{
		Owner: set, Kind: kind, Selector: selector, Live: live,
		Match: func(pod *corev1.Pod) bool { parent, n := ordinal(pod); return n >= 0 && parent == set.Name },
		Patch: func(ctx context.Context, pod *corev1.Pod, patch []byte) error {
			patched, err := c.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			if err == nil {
				c.writes.Wrote(key, c.podIndex, patched)
			}
			return err
		},
	}.From(ctx, candidates)
	if err != nil {
		return nil, err
	}
	// A pod that was deleted here is on its way, whatever the cache says.
	seen := map[types.UID]bool{}
	for i, pod := range pods {
		seen[pod.UID] = true
		if pod.DeletionTimestamp == nil && c.writes.Gone(key, pod.UID) {
			pods[i] = pod.DeepCopy()
			pods[i].DeletionTimestamp = ptr.To(metav1.NewTime(c.env.Clock.Now()))
		}
	}
	c.writes.Retain(key, func(uid types.UID) bool { return seen[uid] })
	return pods, nil
}

// revisions answers the revision that the pods had, and the one that they are to have, which it makes if need be.
func (c *Controller) revisions(ctx context.Context, key string, set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (current, update *appsv1.ControllerRevision, collisions int32, err error) {
	collisions = ptr.Deref(set.Status.CollisionCount, 0)
	data, err := history.Data(&set.Spec.Template)
	if err != nil {
		return nil, nil, collisions, err
	}
	wanted := history.New(set, kind, set.Spec.Template.Labels, data, history.Next(all), collisions)
	for i := len(all) - 1; i >= 0 && update == nil; i-- {
		if !history.Same(all[i], wanted) {
			continue
		}
		if update = all[i]; i < len(all)-1 {
			if update, err = c.history.Renumber(ctx, key, all[i], wanted.Revision); err != nil {
				return nil, nil, collisions, err
			}
		}
	}
	for update == nil {
		var collided bool
		if update, collided, err = c.history.Create(ctx, key, wanted); err != nil {
			return nil, nil, collisions, err
		}
		if collided {
			collisions++
			wanted = history.New(set, kind, set.Spec.Template.Labels, data, history.Next(all), collisions)
		}
	}
	current = update
	for _, r := range all {
		if r.Name == set.Status.CurrentRevision {
			current = r
		}
	}
	return current, update, collisions, nil
}

func (c *Controller) do(ctx context.Context, key string, s state, current, update *appsv1.ControllerRevision) error {
	steps := s.plan()
	_, err := control.Grow(ctx, len(steps), func(ctx context.Context, i int) error {
		switch st := steps[i]; st.deed {
		case create:
			return c.create(ctx, key, s, st.number, current, update)
		case remove:
			return c.remove(ctx, key, s.set, st.pod, st.number)
		default:
			return c.identify(ctx, key, s.set, st.pod, st.number)
		}
	})
	return err
}

func (c *Controller) create(ctx context.Context, key string, s state, number int, current, update *appsv1.ControllerRevision) error {
	if c.staleClaims(s.set, number) {
		return nil // the claim's going wakes nobody, but the pod that owns it is a pod of ours
	}
	revision := update
	if s.startsOld(number) {
		revision = current
	}
	template := &s.set.Spec.Template
	if revision != update {
		var err error
		if template, err = history.Template(revision); err != nil {
			return err
		}
	}
	pod := newPod(s.set, template, revision.Name, number)
	err := c.ensureClaims(ctx, key, s.set, number)
	var created *corev1.Pod
	if err == nil {
		created, err = c.env.Client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	if err != nil {
		if !apierrors.IsAlreadyExists(err) {
			c.events.Eventf(s.set, corev1.EventTypeWarning, "FailedCreate", "Create Pod %s in StatefulSet %s failed error: %s", pod.Name, s.set.Name, err)
		}
		return err
	}
	c.writes.Wrote(key, c.podIndex, created)
	c.events.Eventf(s.set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Pod %s in StatefulSet %s successful", pod.Name, s.set.Name)
	return c.ownClaims(ctx, key, s.set, created, number)
}

func (c *Controller) remove(ctx context.Context, key string, set *appsv1.StatefulSet, pod *corev1.Pod, number int) error {
	if err := c.ownClaims(ctx, key, set, pod, number); err != nil {
		return err
	}
	err := c.env.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.events.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Delete Pod %s in StatefulSet %s failed error: %s", pod.Name, set.Name, err)
		return err
	}
	c.writes.Deleted(key, pod.UID)
	c.events.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Delete Pod %s in StatefulSet %s successful", pod.Name, set.Name)
	return nil
}

// identify repairs what a pod lacks. It costs no request when nothing does.
func (c *Controller) identify(ctx context.Context, key string, set *appsv1.StatefulSet, pod *corev1.Pod, number int) error {
	if pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "" {
		if err := c.ensureClaims(ctx, key, set, number); err != nil {
			return err
		}
	}
	if err := c.ownClaims(ctx, key, set, pod, number); err != nil {
		return err
	}
	fixed := pod.DeepCopy()
	if !identify(set, fixed, number) {
		return nil
	}
	written, err := c.env.Client.CoreV1().Pods(pod.Namespace).Update(ctx, fixed, metav1.UpdateOptions{})
	if err != nil {
		c.events.Eventf(set, corev1.EventTypeWarning, "FailedUpdate", "Update Pod %s in StatefulSet %s failed error: %s", pod.Name, set.Name, err)
		return fmt.Errorf("update pod %s: %w", pod.Name, err)
	}
	c.writes.Wrote(key, c.podIndex, written)
	c.events.Eventf(set, corev1.EventTypeNormal, "SuccessfulUpdate", "Update Pod %s in StatefulSet %s successful", pod.Name, set.Name)
	return nil
}

// recheck comes back when the next ready pod will have become available.
func (c *Controller) recheck(key string, s state) {
	for _, pod := range s.pods {
		if available, in := control.Available(pod, s.set.Spec.MinReadySeconds, s.now); !available && in > 0 {
			c.loop.AddAfter(key, in)
		}
	}
}

func (c *Controller) writeStatus(ctx context.Context, key string, set *appsv1.StatefulSet, status appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	updated := set.DeepCopy()
	updated.Status = status
	written, err := c.env.Client.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if err != nil {
		return control.IgnoreNotFound(err)
	}
	c.writes.Wrote(key, c.store, written)
	return nil
}
