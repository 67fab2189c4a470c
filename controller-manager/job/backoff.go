package job

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	firstBackoff = 10 * time.Second
	maxBackoff   = 10 * time.Minute
)

// finishedAt is when a pod ended, as well as that can be told.
func finishedAt(pod *corev1.Pod) time.Time {
	if last, ok := lastExit(pod); ok {
		return last
	}
	if ready := control.Condition(pod, corev1.PodReady); ready != nil && ready.Status == corev1.ConditionFalse && !ready.LastTransitionTime.IsZero() {
		return ready.LastTransitionTime.Time
	}
	if pod.DeletionTimestamp != nil {
		return pod.DeletionTimestamp.Add(-time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second)
	}
	return pod.CreationTimestamp.Time
}

// lastExit is when the last container ended; false unless all have. Side cars end after the others and count too.
func lastExit(pod *corev1.Pod) (last time.Time, all bool) {
	statuses := append([]corev1.ContainerStatus(nil), pod.Status.ContainerStatuses...)
	sidecar := map[string]bool{}
	for _, c := range pod.Spec.InitContainers {
		sidecar[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if sidecar[s.Name] {
			statuses = append(statuses, s)
		}
	}
	for _, s := range statuses {
		if s.State.Terminated == nil || s.State.Terminated.FinishedAt.IsZero() {
			return time.Time{}, false
		}
		if s.State.Terminated.FinishedAt.After(last) {
			last = s.State.Terminated.FinishedAt.Time
		}
	}
	return last, len(statuses) > 0
}

// remaining is how long to wait after that many failures in a row, the last of them at last.
func remaining(failures int, last, now time.Time) time.Duration {
	if failures == 0 {
		return 0
	}
	backoff := firstBackoff
	for i := 1; i < failures && backoff < maxBackoff; i++ {
		backoff *= 2
	}
	return max(min(backoff, maxBackoff)-now.Sub(last), 0)
}

// backoff is how long to wait before pods are created, by the failures since the last success. It is read off the pods
// that are there: so it is the same after a restart of this process.
func backoff(succeeded, failed []*corev1.Pod, now time.Time) time.Duration {
	var lastSuccess, lastFailure time.Time
	for _, pod := range succeeded {
		if at := finishedAt(pod); at.After(lastSuccess) {
			lastSuccess = at
		}
	}
	failures := 0
	for _, pod := range failed {
		at := finishedAt(pod)
		if !at.After(lastSuccess) {
			continue
		}
		failures++
		if at.After(lastFailure) {
			lastFailure = at
		}
	}
	return remaining(failures, lastFailure, now)
}
