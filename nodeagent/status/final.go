package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Final completes the status of a pod of which nothing runs any more: a container of which no end is known is shown as ended with
// an error, since nobody knows whether it succeeded, and the phase is one of the final ones.
func Final(pod *corev1.Pod, s corev1.PodStatus, now time.Time) corev1.PodStatus {
	known := over(s.Phase)
	finish := func(list []corev1.ContainerStatus) {
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
	finish(s.ContainerStatuses)
	if !known {
		finish(s.InitContainerStatuses)
	}
	if !known {
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
