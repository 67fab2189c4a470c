package status

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// ReasonRestartingAll marks containers that were removed because a restart rule restarts the whole pod.
const ReasonRestartingAll = "RestartingAllContainers"

const (
	reasonUnknown  = "ContainerStatusUnknown"
	waitingDefault = "ContainerCreating"
	waitingInit    = "PodInitializing"
	killedCode     = 137
)

// container works out one container's status from its attempts, newest first, and what was reported last.
func (g *generator) container(c *corev1.Container, previous *corev1.ContainerStatus, init, ephemeral bool) corev1.ContainerStatus {
	attempts := g.seen.Containers[c.Name]
	var s corev1.ContainerStatus
	if len(attempts) > 0 {
		s = g.fromRuntime(c, attempts, previous)
	} else {
		s = g.fromMemory(c, previous)
	}
	if init && !IsSidecar(c) && len(attempts) == 0 && s.State.Waiting != nil && g.appCreated() {
		// The record of a finished init container may be lost with the API's status; that apps exist proves that it was finished.
		s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: runtime.ReasonCompleted,
			Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"}}
	}
	g.explainWaiting(c, &s, init)
	g.started(c, attempts, &s, init, ephemeral)
	s.VolumeMounts = g.volumeMounts(c, attempts)
	return s
}

func (g *generator) fromRuntime(c *corev1.Container, attempts []runtime.ContainerStatus, previous *corev1.ContainerStatus) corev1.ContainerStatus {
	now := attempts[0]
	s := corev1.ContainerStatus{
		Name: c.Name, RestartCount: int32(now.Attempt), Image: now.Image, ImageID: now.ImageID, ContainerID: g.id(now),
		AllocatedResources: c.Resources.Requests, AllocatedResourcesStatus: nil,
	}
	s.State = g.state(now, previous)
	if previous != nil {
		s.RestartCount = max(s.RestartCount, previous.RestartCount)
		s.LastTerminationState = previous.LastTerminationState
		if previous.ContainerID != s.ContainerID && previous.State.Terminated != nil {
			s.LastTerminationState.Terminated = previous.State.Terminated
		}
	}
	if len(attempts) > 1 && attempts[1].State == runtime.Exited {
		s.LastTerminationState = g.state(attempts[1], nil)
	}
	s.Resources = g.resources(c, now)
	if now.User != nil {
		s.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: now.User.UID, GID: now.User.GID, SupplementalGroups: now.User.SupplementalGroups}}
	}
	if now.StopSignal != "" {
		signal := corev1.Signal(now.StopSignal)
		s.StopSignal = &signal
	}
	return s
}

func (g *generator) id(s runtime.ContainerStatus) string { return g.seen.RuntimeName + "://" + s.ID }

func (g *generator) state(s runtime.ContainerStatus, previous *corev1.ContainerStatus) corev1.ContainerState {
	switch s.State {
	case runtime.Running:
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.StartedAt)}}
	case runtime.Exited:
		message := s.Message
		if m, ok := g.seen.Messages[s.ID]; ok && m != "" {
			message = m
		}
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: s.ExitCode, Signal: 0, Reason: s.Reason, Message: message,
			StartedAt: metav1.NewTime(s.StartedAt), FinishedAt: metav1.NewTime(s.FinishedAt), ContainerID: g.id(s),
		}}
	case runtime.Unknown:
		if previous != nil && previous.State.Running != nil {
			return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reasonUnknown, ExitCode: killedCode,
				Message: "The container could not be located when the pod was terminated"}}
		}
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
}

// fromMemory is the status of a container that the runtime does not know: not started yet, or lost.
func (g *generator) fromMemory(c *corev1.Container, previous *corev1.ContainerStatus) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waitingDefault}}}
	if len(g.pod.Spec.InitContainers) > 0 {
		s.State.Waiting.Reason = waitingInit
	}
	if previous == nil {
		return s
	}
	if g.seen.RestartingAll && previous.State.Waiting == nil {
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: ReasonRestartingAll, Message: removedMessage}
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: ReasonRestartingAll, Message: removedMessage, ExitCode: killedCode}
		s.RestartCount = previous.RestartCount + 1
		return s
	}
	if previous.State.Terminated != nil {
		return *previous
	}
	s.RestartCount, s.LastTerminationState = previous.RestartCount, previous.LastTerminationState
	if previous.State.Running != nil && s.LastTerminationState.Terminated == nil {
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: reasonUnknown, ExitCode: killedCode,
			Message: "The container could not be located when the pod was deleted.  The container used to be Running"}
		if g.pod.DeletionTimestamp == nil {
			s.RestartCount++
		}
	}
	return s
}

const removedMessage = "The container is removed because RestartAllContainers in place"

func (g *generator) appCreated() bool {
	for i := range g.pod.Spec.Containers {
		if len(g.seen.Containers[g.pod.Spec.Containers[i].Name]) > 0 {
			return true
		}
	}
	return false
}

// explainWaiting shows why a container that should run does not: the last refusal to start it, or its back-off.
func (g *generator) explainWaiting(c *corev1.Container, s *corev1.ContainerStatus, init bool) {
	why, ok := g.seen.Waiting[c.Name]
	if !ok || s.State.Running != nil || g.terminal {
		return
	}
	if end := s.State.Terminated; end != nil {
		if init && !ShouldRestartInit(c, &g.pod.Spec, end.ExitCode) || !init && !ShouldRestart(c, &g.pod.Spec, end.ExitCode) {
			return
		}
		s.LastTerminationState = s.State
	}
	s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: why.Reason, Message: why.Message}}
}

// started fills in what the probes say.
func (g *generator) started(c *corev1.Container, attempts []runtime.ContainerStatus, s *corev1.ContainerStatus, init, ephemeral bool) {
	started, isReady := false, false
	if s.State.Running != nil {
		started = c.StartupProbe == nil
		isReady = c.ReadinessProbe == nil && started
		if p, ok := g.seen.Probes[attempts[0].ID]; ok {
			started, isReady = p.Started, p.Ready
		}
	}
	if !ephemeral {
		s.Started = &started
	}
	s.Ready = isReady && !ephemeral
	if init && !IsSidecar(c) {
		s.Ready = s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
	}
}

// resources are those in force: what the cgroup has where it tells, in the words of the spec where both mean the same.
func (g *generator) resources(c *corev1.Container, s runtime.ContainerStatus) *corev1.ResourceRequirements {
	r := c.Resources.DeepCopy()
	if s.State != runtime.Running {
		return r
	}
	if actual, ok := g.seen.Actual[c.Name]; ok {
		overlay(r.Limits, actual.Limits)
		overlay(r.Requests, actual.Requests)
	}
	return r
}

func overlay(shown, actual corev1.ResourceList) {
	for name, q := range actual {
		if _, ok := shown[name]; ok {
			shown[name] = q
		}
	}
}

func (g *generator) volumeMounts(c *corev1.Container, attempts []runtime.ContainerStatus) []corev1.VolumeMountStatus {
	var list []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		v := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled && g.seen.RecursiveReadOnly {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			v.RecursiveReadOnly = &mode
		}
		if ref := g.seen.ImageVolumes[m.Name]; ref != "" && len(attempts) > 0 {
			v.VolumeStatus = &corev1.VolumeStatus{Image: &corev1.ImageVolumeStatus{ImageRef: ref}}
		}
		list = append(list, v)
	}
	return list
}
