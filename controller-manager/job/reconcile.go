package job

import (
	"context"
	"encoding/json"
	"sync/atomic"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	cached, err := c.jobs.Jobs(namespace).Get(name)
	if err != nil {
		c.writes.Forget(key)
		return nil
	}
	if by := cached.Spec.ManagedBy; over(cached) || (by != nil && *by != batchv1.JobControllerName) {
		return nil
	}
	pods, err := c.claim(ctx, key, cached)
	if err != nil {
		return err
	}
	s := observe(cached.DeepCopy(), pods, c.env.Clock.Now())
	if s.job.Status.StartTime == nil && !suspended(s.job) {
		s.job.Status.StartTime = ptr.To(metav1.NewTime(s.now))
	}
	if in := s.deadlineIn(); in > 0 {
		c.loop.AddAfter(key, in)
	}
	verdict, podErr := c.act(ctx, key, s)
	if err := c.track(ctx, key, cached, s, verdict); err != nil {
		return err
	}
	return podErr
}

func (c *Controller) claim(ctx context.Context, key string, j *batchv1.Job) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector)
	if err != nil {
		return nil, err
	}
	candidates := control.OwnedBy[*corev1.Pod](c.podIndex, j.UID)
	for _, pod := range control.Orphans[*corev1.Pod](c.podIndex, j.Namespace) {
		if selector.Matches(labels.Set(pod.Labels)) {
			candidates = append(candidates, pod)
		}
	}
	pods, err := control.Claim[*corev1.Pod]{
		Owner: j, Kind: kind, Selector: selector, Finalizers: []string{batchv1.JobTrackingFinalizer},
		Live: func(ctx context.Context) (metav1.Object, error) {
			return c.env.Client.BatchV1().Jobs(j.Namespace).Get(ctx, j.Name, metav1.GetOptions{})
		},
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

// act creates and deletes pods. It answers the condition that ends the Job, if it does, and updates the numbers of s.
func (c *Controller) act(ctx context.Context, key string, s *state) (*batchv1.JobCondition, error) {
	if verdict := s.verdict(); verdict != nil {
		if err := c.remove(ctx, key, s, s.active); err != nil {
			return nil, err // not over while a pod may still run uncounted
		}
		return verdict, nil
	}
	var err error
	if s.job.DeletionTimestamp == nil {
		do := s.plan()
		switch {
		case len(do.remove) > 0:
			err = c.remove(ctx, key, s, do.remove)
		case do.create > 0:
			err = c.create(ctx, key, s, do)
		}
		if do.wait > 0 {
			c.loop.AddAfter(key, do.wait)
		}
	}
	if verdict := s.completed(int32(len(s.active))); verdict != nil {
		return verdict, err
	}
	if s.job.DeletionTimestamp == nil {
		c.suspendOrResume(s)
	}
	return nil, err
}

func (c *Controller) suspendOrResume(s *state) {
	if suspended(s.job) {
		if setCondition(s.job, *s.condition(batchv1.JobSuspended, "JobSuspended", "Job suspended")) {
			c.events.Event(s.job, corev1.EventTypeNormal, "Suspended", "Job suspended")
			s.job.Status.StartTime = nil
		}
		return
	}
	resumed := s.condition(batchv1.JobSuspended, "JobResumed", "Job resumed")
	resumed.Status = corev1.ConditionFalse
	if setCondition(s.job, *resumed) {
		c.events.Event(s.job, corev1.EventTypeNormal, "Resumed", "Job resumed")
		// The deadline counts from here: time in suspension is not time active.
		s.job.Status.StartTime = ptr.To(metav1.NewTime(s.now))
	}
}

func (c *Controller) remove(ctx context.Context, key string, s *state, pods []*corev1.Pod) error {
	removed := make([]bool, len(pods))
	err := control.Each(ctx, len(pods), func(ctx context.Context, i int) error {
		err := c.control.Delete(ctx, s.job, pods[i])
		if err == nil {
			removed[i] = true
			c.writes.Deleted(key, pods[i].UID)
		}
		return err
	})
	gone := map[types.UID]bool{}
	for i, pod := range pods {
		if removed[i] {
			gone[pod.UID] = true
			s.terminating++
			if control.Ready(pod) {
				s.ready--
			}
		}
	}
	var left []*corev1.Pod
	for _, pod := range s.active {
		if !gone[pod.UID] {
			left = append(left, pod)
		}
	}
	s.active = left
	return err
}

func (c *Controller) create(ctx context.Context, key string, s *state, do steps) error {
	var created atomic.Int32
	_, err := control.Grow(ctx, do.create, func(ctx context.Context, i int) error {
		index := none
		if do.which != nil {
			index = do.which[i]
		}
		pod, err := c.control.Create(ctx, s.job, s.pod(index))
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err == nil {
			created.Add(1)
			c.writes.Wrote(key, c.podIndex, pod)
		}
		return err
	})
	// New pods are neither ready nor in the list; as far as the status goes they are active.
	for range created.Load() {
		s.active = append(s.active, &corev1.Pod{})
	}
	return err
}

// release takes our finalizer from a pod whose Job is no more or is not its controller any more.
func (c *Controller) release(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	pod, err := c.pods.Pods(namespace).Get(name)
	if err != nil || !tracked(pod) || c.jobOf(pod) != nil {
		return nil
	}
	if owner := control.OwnerKey(pod, kind); owner != nil {
		// The cache of Jobs may be behind that of pods.
		_, jobName := control.SplitKey(owner[0])
		j, err := c.env.Client.BatchV1().Jobs(namespace).Get(ctx, jobName, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if err == nil && metav1.IsControlledBy(pod, j) {
			return nil
		}
	}
	_, err = c.untrack(ctx, pod)
	return err
}

// untrack removes the finalizer. A pod that is gone answers nil.
func (c *Controller) untrack(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer},
	}})
	if err != nil {
		return nil, err
	}
	patched, err := c.env.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil, nil
	}
	return patched, err
}
