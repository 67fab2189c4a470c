package status

import (
	corev1 "k8s.io/api/core/v1"
)

// tally counts the containers of a pod by what matters to its phase.
type tally struct {
	initPending, sidecarPending, initFailedForGood int
	unknown, running, waiting                      int
	stopped, stoppedForGood, succeeded             int
}

// Phase is the pod's phase as its container statuses have it. terminal says that no container will be started again whatever
// its policy; initialized that an app container runs or has run, so that a restarting sidecar does not make the pod Pending.
func Phase(pod *corev1.Pod, statuses []corev1.ContainerStatus, terminal, initialized bool) corev1.PodPhase {
	t := count(pod, statuses)
	switch {
	case t.initFailedForGood > 0:
		return corev1.PodFailed
	case t.initPending > 0, t.sidecarPending > 0 && !initialized, t.waiting > 0:
		return corev1.PodPending
	case t.running > 0 && t.unknown == 0:
		return corev1.PodRunning
	case t.running == 0 && t.stopped > 0 && t.unknown == 0:
		// Static pods never end: their file is still there.
		if !(terminal && !isStatic(pod)) && t.stopped != t.stoppedForGood {
			return corev1.PodRunning
		}
		if t.stopped == t.succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	}
	return corev1.PodPending
}

func count(pod *corev1.Pod, statuses []corev1.ContainerStatus) tally {
	var t tally
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := named(statuses, c.Name)
		if IsSidecar(c) {
			t.addSidecar(s)
		} else {
			t.addInit(pod, c, s)
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		t.addApp(pod, c, named(statuses, c.Name))
	}
	return t
}

func (t *tally) addInit(pod *corev1.Pod, c *corev1.Container, s *corev1.ContainerStatus) {
	end := ended(s)
	switch {
	case end == nil:
		t.initPending++
	case end.ExitCode != 0 && !restartable(pod, c, end):
		t.initFailedForGood++
	}
}

func (t *tally) addSidecar(s *corev1.ContainerStatus) {
	switch {
	case s == nil:
		t.unknown++
	case s.State.Running != nil:
		t.running++
		if s.Started == nil || !*s.Started {
			t.sidecarPending++
		}
	case ended(s) != nil: // a sidecar that has ended does not count
	case s.State.Waiting != nil:
		t.sidecarPending++
		t.waiting++
	default:
		t.sidecarPending++
		t.unknown++
	}
}

func (t *tally) addApp(pod *corev1.Pod, c *corev1.Container, s *corev1.ContainerStatus) {
	end := ended(s)
	switch {
	case s == nil:
		t.unknown++
	case s.State.Running != nil:
		t.running++
	case end != nil:
		t.stopped++
		if !restartable(pod, c, end) {
			t.stoppedForGood++
		}
		if s.State.Terminated != nil && end.ExitCode == 0 {
			t.succeeded++
		}
	case s.State.Waiting != nil:
		t.waiting++
	default:
		t.unknown++
	}
}

// ended is how a container ended, when it has and does not run again.
func ended(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	switch {
	case s == nil:
		return nil
	case s.State.Terminated != nil:
		return s.State.Terminated
	case s.State.Waiting != nil:
		return s.LastTerminationState.Terminated
	}
	return nil
}

func restartable(pod *corev1.Pod, c *corev1.Container, end *corev1.ContainerStateTerminated) bool {
	return end.Reason == ReasonRestartingAll || ShouldRestart(c, &pod.Spec, end.ExitCode)
}

func named(statuses []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range statuses {
		if statuses[i].Name == name {
			return &statuses[i]
		}
	}
	return nil
}

func isStatic(pod *corev1.Pod) bool {
	source := pod.Annotations["kubernetes.io/config.source"]
	return source != "" && source != "api"
}
