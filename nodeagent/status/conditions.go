package status

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Owned says whether the node agent owns conditions of this type; all others it leaves as they are.
func Owned(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
		corev1.PodResizePending, corev1.PodResizeInProgress, corev1.AllContainersRestarting:
		return true
	}
	return false
}

type verdict struct {
	ok              bool
	reason, message string
}

func (v verdict) condition(t corev1.PodConditionType, generation int64) corev1.PodCondition {
	c := corev1.PodCondition{Type: t, ObservedGeneration: generation, Status: corev1.ConditionFalse, Reason: v.reason, Message: v.message}
	if v.ok {
		c.Status = corev1.ConditionTrue
	}
	return c
}

// containersReady judges the app containers and sidecars.
func containersReady(pod *corev1.Pod, statuses []corev1.ContainerStatus, phase corev1.PodPhase) verdict {
	var unknown, unready []string
	look := func(name string) {
		if s := named(statuses, name); s == nil {
			unknown = append(unknown, name)
		} else if !s.Ready {
			unready = append(unready, name)
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; IsSidecar(c) {
			look(c.Name)
		}
	}
	for i := range pod.Spec.Containers {
		look(pod.Spec.Containers[i].Name)
	}
	switch {
	case phase == corev1.PodFailed:
		return verdict{reason: "PodFailed"}
	case phase == corev1.PodSucceeded && len(unknown) == 0:
		return verdict{reason: "PodCompleted"}
	}
	message := joinLists("containers with unknown status: %s", unknown, "containers with unready status: %s", unready)
	if message != "" {
		return verdict{reason: "ContainersNotReady", message: message}
	}
	return verdict{ok: true}
}

// ready judges the pod: its containers, then the gates that others open by conditions of their own.
func ready(pod *corev1.Pod, containers verdict, conditions []corev1.PodCondition) verdict {
	if !containers.ok {
		return containers
	}
	var problems []string
	for _, gate := range pod.Spec.ReadinessGates {
		c := conditionOf(conditions, gate.ConditionType)
		switch {
		case c == nil:
			problems = append(problems, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", string(gate.ConditionType)))
		case c.Status != corev1.ConditionTrue:
			problems = append(problems, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", string(gate.ConditionType), c.Status))
		}
	}
	if len(problems) > 0 {
		return verdict{reason: "ReadinessGatesNotReady", message: strings.Join(problems, ", ")}
	}
	return verdict{ok: true}
}

// initialized judges the init containers. Once an app container has started, the pod stays initialized.
func initialized(pod *corev1.Pod, statuses []corev1.ContainerStatus, phase corev1.PodPhase, old []corev1.PodCondition) verdict {
	var unknown, incomplete []string
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := named(statuses, c.Name)
		switch {
		case s == nil:
			unknown = append(unknown, c.Name)
		case IsSidecar(c) && (s.Started == nil || !*s.Started), !IsSidecar(c) && !s.Ready:
			incomplete = append(incomplete, c.Name)
		}
	}
	if phase == corev1.PodSucceeded && len(unknown) == 0 {
		return verdict{ok: true, reason: "PodCompleted"}
	}
	for i := range pod.Spec.Containers {
		if hasStarted(named(statuses, pod.Spec.Containers[i].Name)) {
			return verdict{ok: true}
		}
	}
	message := joinLists("containers with unknown status: %s", unknown, "containers with incomplete status: %s", incomplete)
	if message == "" {
		return verdict{ok: true}
	}
	if c := conditionOf(old, corev1.PodInitialized); c != nil && c.Status == corev1.ConditionTrue {
		return verdict{ok: true} // a pod restarted in place stays initialized
	}
	return verdict{reason: "ContainersNotInitialized", message: message}
}

func hasStarted(s *corev1.ContainerStatus) bool {
	return s != nil && (s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil || s.RestartCount > 0)
}

func joinLists(format1 string, list1 []string, format2 string, list2 []string) string {
	var parts []string
	if len(list1) > 0 {
		parts = append(parts, fmt.Sprintf(format1, list1))
	}
	if len(list2) > 0 {
		parts = append(parts, fmt.Sprintf(format2, list2))
	}
	return strings.Join(parts, ", ")
}

func conditionOf(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}
