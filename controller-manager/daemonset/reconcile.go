package daemonset

import (
	"context"
	"encoding/json"

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

// burst is how many pods one reconcile creates or deletes at most.
const burst = 250

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	set, err := c.sets.DaemonSets(namespace).Get(name)
	if err != nil {
		c.writes.Forget(key)
		return nil
	}
	if len(set.Spec.Selector.MatchLabels)+len(set.Spec.Selector.MatchExpressions) == 0 {
		c.events.Event(set, corev1.EventTypeWarning, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return nil
	}
	if set.DeletionTimestamp != nil {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil // the server refuses such a selector; nothing to retry
	}
	live := func(ctx context.Context) (metav1.Object, error) {
		return c.env.Client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
	}
	revisions, err := c.history.List(ctx, key, set, kind, selector, live)
	if err != nil {
		return err
	}
	current, hash, collisions, err := c.revision(ctx, key, set, revisions)
	if err != nil {
		return err
	}
	pods, err := c.pods(ctx, key, set, selector, live)
	if err != nil {
		return err
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	s := newState(set, nodes, pods, hash, c.env.Clock.Now())
	doErr := c.do(ctx, key, s)
	if err := c.writeStatus(ctx, key, set, s.status(collisions)); err != nil {
		return err
	}
	if doErr != nil {
		return doErr
	}
	c.recheck(key, s, pods)
	return c.truncate(ctx, set, revisions, current, pods)
}

// do closes the gap: first each node gets the pod that it lacks, then the template is rolled out.
func (c *Controller) do(ctx context.Context, key string, s state) error {
	do, ended := s.present()
	for _, pod := range ended {
		if pod.Status.Phase == corev1.PodSucceeded {
			c.events.Eventf(s.set, corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, nodeOf(pod))
			do.remove = append(do.remove, pod)
			continue
		}
		may, wait := c.mayReplace(key, nodeOf(pod), s.now)
		if !may {
			c.loop.AddAfter(key, wait)
			continue
		}
		c.events.Eventf(s.set, corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, nodeOf(pod))
		do.remove = append(do.remove, pod)
	}
	if len(do.create)+len(do.remove) == 0 && s.set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		do = s.roll()
	}
	create, remove := do.create[:min(len(do.create), burst)], do.remove[:min(len(do.remove), burst)]
	_, err := control.Grow(ctx, len(create), func(ctx context.Context, i int) error {
		pod, err := c.control.Create(ctx, s.set, newPod(s.set, s.hash, create[i]))
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err == nil {
			c.writes.Wrote(key, c.podIndex, pod)
		}
		return err
	})
	removeErr := control.Each(ctx, len(remove), func(ctx context.Context, i int) error {
		err := c.control.Delete(ctx, s.set, remove[i])
		if err == nil {
			c.writes.Deleted(key, remove[i].UID)
		}
		return err
	})
	if err == nil {
		err = removeErr
	}
	return err
}

func (c *Controller) pods(ctx context.Context, key string, set *appsv1.DaemonSet, selector labels.Selector, live func(ctx context.Context) (metav1.Object, error)) ([]*corev1.Pod, error) {
	candidates := control.OwnedBy[*corev1.Pod](c.podIndex, set.UID)
	for _, pod := range control.Orphans[*corev1.Pod](c.podIndex, set.Namespace) {
		if selector.Matches(labels.Set(pod.Labels)) {
			candidates = append(candidates, pod)
		}
	}
	pods, err := control.Claim[*corev1.Pod]{
		Owner: set, Kind: kind, Selector: selector, Live: live,
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

// revision answers the revision of the set's template, which it makes if need be, and its hash.
func (c *Controller) revision(ctx context.Context, key string, set *appsv1.DaemonSet, all []*appsv1.ControllerRevision) (current *appsv1.ControllerRevision, hash string, collisions *int32, err error) {
	collisions = set.Status.CollisionCount
	data, err := history.Data(&set.Spec.Template)
	if err != nil {
		return nil, "", nil, err
	}
	wanted := func() *appsv1.ControllerRevision {
		hash := control.TemplateHash(&set.Spec.Template, collisions)
		r := history.Named(set, kind, set.Spec.Template.Labels, data, history.Next(all), hash)
		r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
		return r
	}
	r := wanted()
	for i := len(all) - 1; i >= 0; i-- {
		if !history.Same(all[i], r) {
			continue
		}
		current = all[i]
		if i < len(all)-1 {
			current, err = c.history.Renumber(ctx, key, all[i], r.Revision)
		}
		if err == nil && current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == "" {
			current, err = c.labelRevision(ctx, key, current)
		}
		if err != nil {
			return nil, "", nil, err
		}
		return current, current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey], collisions, nil
	}
	for {
		created, collided, err := c.history.Create(ctx, key, r)
		if err != nil {
			return nil, "", nil, err
		}
		if !collided {
			return created, created.Labels[appsv1.DefaultDaemonSetUniqueLabelKey], collisions, nil
		}
		collisions = ptr.To(ptr.Deref(collisions, 0) + 1)
		r = wanted()
	}
}

// labelRevision gives a revision from before hashes its hash, which is its name.
func (c *Controller) labelRevision(ctx context.Context, key string, r *appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{appsv1.DefaultDaemonSetUniqueLabelKey: r.Name}}})
	if err != nil {
		return nil, err
	}
	written, err := c.env.Client.AppsV1().ControllerRevisions(r.Namespace).Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err == nil {
		c.writes.Wrote(key, c.history.Index, written)
	}
	return written, err
}

func (c *Controller) truncate(ctx context.Context, set *appsv1.DaemonSet, revisions []*appsv1.ControllerRevision, current *appsv1.ControllerRevision, pods []*corev1.Pod) error {
	hashes := map[string]bool{}
	for _, pod := range pods {
		hashes[pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]] = true
	}
	live := map[string]bool{current.Name: true}
	for _, r := range revisions {
		if hashes[r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]] {
			live[r.Name] = true
		}
	}
	return c.history.Truncate(ctx, revisions, live, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))
}

// recheck comes back when the next ready pod will have become available.
func (c *Controller) recheck(key string, s state, pods []*corev1.Pod) {
	for _, pod := range pods {
		if available, in := control.Available(pod, s.set.Spec.MinReadySeconds, s.now); !available && in > 0 {
			c.loop.AddAfter(key, in)
		}
	}
}

func (c *Controller) writeStatus(ctx context.Context, key string, set *appsv1.DaemonSet, status appsv1.DaemonSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, status) {
		return nil
	}
	updated := set.DeepCopy()
	updated.Status = status
	written, err := c.env.Client.AppsV1().DaemonSets(set.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if err != nil {
		return control.IgnoreNotFound(err)
	}
	c.writes.Wrote(key, c.store, written)
	return nil
}
