package job

import (
	"context"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// maxUncounted is how many UIDs the status holds at a time: it has to stay small enough to be written.
const maxUncounted = 500

// track counts the pods that have ended: see the package's comment. verdict, if any, becomes the Job's last condition once
// nothing is left to count.
func (c *Controller) track(ctx context.Context, key string, cached *batchv1.Job, s *state, verdict *batchv1.JobCondition) error {
	j := s.job
	j.Status.Active, j.Status.Ready, j.Status.Terminating = int32(len(s.active)), &s.ready, &s.terminating
	waiting := map[types.UID]bool{} // pods that have the finalizer still
	for _, pod := range s.pods {
		if tracked(pod) {
			waiting[pod.UID] = true
		}
	}
	settle(j, waiting)
	ended, all := s.count(verdict)
	verdict = s.interim(verdict)
	job, err := c.write(ctx, key, cached, j)
	if err != nil {
		return err
	}

	freed := make([]bool, len(ended))
	freeErr := control.Each(ctx, len(ended), func(ctx context.Context, i int) error {
		patched, err := c.untrack(ctx, ended[i])
		if err == nil {
			freed[i] = true
			if patched != nil {
				c.writes.Wrote(key, c.podIndex, patched)
			}
		}
		return err
	})
	for i, pod := range ended {
		if freed[i] {
			delete(waiting, pod.UID)
		}
	}

	after := job.DeepCopy()
	settle(after, waiting)
	finished := false
	if freeErr == nil && all && verdict != nil {
		uncounted := after.Status.UncountedTerminatedPods
		if (uncounted == nil || len(uncounted.Succeeded)+len(uncounted.Failed) == 0) && s.terminating == 0 {
			finished = setCondition(after, *verdict)
			if verdict.Type == batchv1.JobComplete {
				after.Status.CompletionTime = &verdict.LastTransitionTime
			}
		}
	}
	if _, err := c.write(ctx, key, job, after); err != nil {
		return err
	}
	if finished {
		c.announce(after, verdict)
	}
	return freeErr
}

// settle turns UIDs whose pods have lost the finalizer into one more in the counters.
func settle(j *batchv1.Job, waiting map[types.UID]bool) {
	uncounted := j.Status.UncountedTerminatedPods
	if uncounted == nil {
		return
	}
	keep := func(list []types.UID, counter *int32) []types.UID {
		kept := slices.DeleteFunc(slices.Clone(list), func(uid types.UID) bool { return !waiting[uid] })
		*counter += int32(len(list) - len(kept))
		return kept
	}
	uncounted.Succeeded = keep(uncounted.Succeeded, &j.Status.Succeeded)
	uncounted.Failed = keep(uncounted.Failed, &j.Status.Failed)
}

// count puts the pods that have ended into the status and answers those that may lose their finalizer then, and whether
// these are all.
func (s *state) count(verdict *batchv1.JobCondition) (ended []*corev1.Pod, all bool) {
	j, uncounted := s.job, s.job.Status.UncountedTerminatedPods
	ended, all = []*corev1.Pod{}, true
	var done []int
	failing := verdict != nil && verdict.Type != batchv1.JobSuccessCriteriaMet
	pods := slices.Clone(s.pods)
	if indexed(j) {
		slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return indexOf(a, j) - indexOf(b, j) })
	}
	for _, pod := range pods {
		if !tracked(pod) {
			continue
		}
		failed := hasFailed(pod, j)
		if !s.mayFree(pod, failed, verdict) {
			continue
		}
		ended = append(ended, pod)
		index := indexOf(pod, j)
		switch {
		case pod.Status.Phase == corev1.PodSucceeded && !contains(uncounted.Failed, pod.UID):
			if indexed(j) {
				if index != none && !s.oldIndexes.has(index) {
					done = append(done, index)
				}
			} else if !contains(uncounted.Succeeded, pod.UID) {
				uncounted.Succeeded = append(uncounted.Succeeded, pod.UID)
			}
		case failed || failing:
			// Once a Job has failed, every pod that has not succeeded counts as failed.
			if contains(uncounted.Failed, pod.UID) || (indexed(j) && index == none) || !judge(j.Spec.PodFailurePolicy, pod).counts() {
				break
			}
			uncounted.Failed = append(uncounted.Failed, pod.UID)
		}
		if len(done)+len(uncounted.Succeeded)+len(uncounted.Failed) >= maxUncounted {
			all = false // the event of this write brings the Job back here
			break
		}
	}
	if indexed(j) {
		s.indexes = s.oldIndexes.with(done)
		j.Status.CompletedIndexes, j.Status.Succeeded = s.indexes.String(), int32(s.indexes.count())
		if perIndex(j) {
			text := s.failedIndexes.String()
			j.Status.FailedIndexes = &text
		}
	}
	return ended, all
}

func (s *state) mayFree(pod *corev1.Pod, failed bool, verdict *batchv1.JobCondition) bool {
	if s.job.DeletionTimestamp != nil || verdict != nil || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if !failed {
		return false
	}
	held := s.held[indexOf(pod, s.job)]
	return held == nil || held.UID != pod.UID
}

// interim writes the condition by which everybody can see what is going to become of the Job, and answers the one that it
// becomes in the end.
func (s *state) interim(verdict *batchv1.JobCondition) *batchv1.JobCondition {
	if verdict == nil {
		return nil
	}
	switch verdict.Type {
	case batchv1.JobFailureTarget:
		setCondition(s.job, *verdict)
		return s.condition(batchv1.JobFailed, verdict.Reason, verdict.Message)
	case batchv1.JobSuccessCriteriaMet:
		if find(s.job, batchv1.JobSuccessCriteriaMet) == nil {
			setCondition(s.job, *verdict)
		}
		return s.condition(batchv1.JobComplete, verdict.Reason, verdict.Message)
	}
	return verdict
}

func (c *Controller) write(ctx context.Context, key string, before, after *batchv1.Job) (*batchv1.Job, error) {
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return before, nil
	}
	written, err := c.env.Client.BatchV1().Jobs(after.Namespace).UpdateStatus(ctx, after, metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	c.writes.Wrote(key, c.store, written)
	return written, nil
}

func (c *Controller) announce(j *batchv1.Job, verdict *batchv1.JobCondition) {
	if verdict.Type != batchv1.JobComplete {
		c.events.Event(j, corev1.EventTypeWarning, verdict.Reason, verdict.Message)
		return
	}
	if j.Spec.Completions != nil && j.Status.Succeeded > *j.Spec.Completions {
		c.events.Event(j, corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
	}
	c.events.Event(j, corev1.EventTypeNormal, "Completed", "Job completed")
}
