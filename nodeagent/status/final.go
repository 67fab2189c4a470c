package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Final completes the status of a pod of which nothing runs any more: a container of which no end is known is shown as ended with
// an error, since nobody knows whether it succeeded, and the phase is one of the final ones. Containers whose turn never came
// stay as they are: app containers of a pod that was never initialized, and the init containers after the last one that was started.
func Final(pod *corev1.Pod, s corev1.PodStatus, now time.Time) corev1.PodStatus {
	if wasInitialized(pod, &s) {
		finish(s.ContainerStatuses)
	}
	started := len(s.InitContainerStatuses)
	for started > 0 && !hasStarted(&s.InitContainerStatuses[started-1]) {
		started--
	}
	finish(s.InitContainerStatuses[:started])
	finish(s.EphemeralContainerStatuses)
	if !over(s.Phase) {
		all := append(append([]corev1.ContainerStatus{}, s.InitContainerStatuses...), s.ContainerStatuses...)
		if s.Phase = Phase(pod, all, true, true); !over(s.Phase) {
			s.Phase = corev1.PodFailed
		}
	}
	all := append(append([]corev1.ContainerStatus{}, s.InitContainerStatuses...), s.ContainerStatuses...)
	v := containersReady(pod, all, s.Phase)
	before := append([]corev1.PodCondition{}, s.Conditions...)
	for i := range s.Conditions {
		if t := s.Conditions[i].Type; t == corev1.PodReady || t == corev1.ContainersReady {
			s.Conditions[i] = v.condition(t, pod.Generation)
		}
	}
	stamp(s.Conditions, before, now)
	return s
}

func wasInitialized(pod *corev1.Pod, s *corev1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		if hasStarted(&s.ContainerStatuses[i]) {
			return true
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		st := named(s.InitContainerStatuses, c.Name)
		if st == nil || IsSidecar(c) && !hasStarted(st) || !IsSidecar(c) && (st.State.Terminated == nil || st.State.Terminated.ExitCode != 0) {
			return false
		}
	}
	return true
}

func finish(list []corev1.ContainerStatus) {
	for i := range list {
		if list[i].State.Terminated != nil {
			continue
		}
		started := false
		list[i].Ready, list[i].Started = false, &started
		if list[i].State.Waiting != nil && list[i].LastTerminationState.Terminated != nil {
			list[i].State = corev1.ContainerState{Terminated: list[i].LastTerminationState.Terminated}
			continue
		}
		list[i].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reasonUnknown, ExitCode: killedCode,
			Message: "The container could not be located when the pod was terminated"}}
	}
}
