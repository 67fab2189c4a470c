package status

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

func terminated(code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}
}

var (
	running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
)

// as makes a status of a container; last is how its attempt before ended.
func as(name string, state corev1.ContainerState, last ...corev1.ContainerState) corev1.ContainerStatus {
	yes := state.Running != nil
	s := corev1.ContainerStatus{Name: name, State: state, Started: &yes}
	if len(last) > 0 {
		s.LastTerminationState = last[0]
	}
	return s
}

func podOf(policy corev1.RestartPolicy, init []string, sidecars []string, apps ...string) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy}}
	for _, n := range init {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: n})
	}
	for _, n := range sidecars {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: n, RestartPolicy: &always})
	}
	for _, n := range apps {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n})
	}
	return p
}

func TestPhase(t *testing.T) {
	const always, onFailure, never = corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	tests := []struct {
		name        string
		pod         *corev1.Pod
		statuses    []corev1.ContainerStatus
		terminal    bool
		initialized bool
		want        corev1.PodPhase
	}{
		{name: "nothing is known", pod: podOf(always, nil, nil, "a"), want: corev1.PodPending},
		{name: "one waits", pod: podOf(always, nil, nil, "a", "b"), statuses: []corev1.ContainerStatus{as("a", running), as("b", waiting)}, want: corev1.PodPending},
		{name: "one runs, one waits to be restarted", pod: podOf(always, nil, nil, "a", "b"), statuses: []corev1.ContainerStatus{as("a", running), as("b", waiting, terminated(1))}, want: corev1.PodRunning},
		{name: "all ended, will be restarted", pod: podOf(always, nil, nil, "a"), statuses: []corev1.ContainerStatus{as("a", terminated(0))}, want: corev1.PodRunning},
		{name: "all ended well, not restarted", pod: podOf(onFailure, nil, nil, "a", "b"), statuses: []corev1.ContainerStatus{as("a", terminated(0)), as("b", terminated(0))}, want: corev1.PodSucceeded},
		{name: "one failed, restarted on failure", pod: podOf(onFailure, nil, nil, "a", "b"), statuses: []corev1.ContainerStatus{as("a", terminated(0)), as("b", terminated(1))}, want: corev1.PodRunning},
		{name: "one failed, never restarted", pod: podOf(never, nil, nil, "a", "b"), statuses: []corev1.ContainerStatus{as("a", terminated(0)), as("b", terminated(1))}, want: corev1.PodFailed},
		{name: "the pod ends: a success whatever the policy", pod: podOf(always, nil, nil, "a"), statuses: []corev1.ContainerStatus{as("a", terminated(0))}, terminal: true, want: corev1.PodSucceeded},
		{name: "the pod ends: a failure whatever the policy", pod: podOf(always, nil, nil, "a"), statuses: []corev1.ContainerStatus{as("a", terminated(137))}, terminal: true, want: corev1.PodFailed},
		{name: "an init container runs", pod: podOf(always, []string{"i"}, nil, "a"), statuses: []corev1.ContainerStatus{as("i", running), as("a", waiting)}, want: corev1.PodPending},
		{name: "an init container failed for good", pod: podOf(never, []string{"i"}, nil, "a"), statuses: []corev1.ContainerStatus{as("i", terminated(1)), as("a", waiting)}, want: corev1.PodFailed},
		{name: "an init container is tried again", pod: podOf(always, []string{"i"}, nil, "a"), statuses: []corev1.ContainerStatus{as("i", waiting, terminated(1)), as("a", waiting)}, want: corev1.PodPending},
		{name: "a sidecar alone does not make it run", pod: podOf(never, nil, []string{"s"}, "a"), statuses: []corev1.ContainerStatus{as("s", running), as("a", waiting)}, want: corev1.PodPending},
		{name: "a sidecar starts again under a running pod", pod: podOf(always, nil, []string{"s"}, "a"), statuses: []corev1.ContainerStatus{as("s", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}, terminated(1)), as("a", running)}, initialized: true, want: corev1.PodRunning},
		{name: "a failed sidecar does not spoil a success", pod: podOf(never, nil, []string{"s"}, "a"), statuses: []corev1.ContainerStatus{as("s", terminated(137)), as("a", terminated(0))}, want: corev1.PodSucceeded},
		{name: "a sidecar still runs after a success", pod: podOf(never, nil, []string{"s"}, "a"), statuses: []corev1.ContainerStatus{as("s", running), as("a", terminated(0))}, want: corev1.PodRunning},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Phase(tt.pod, tt.statuses, tt.terminal, tt.initialized); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	ready := as("a", running)
	ready.Ready = true
	gated := podOf(corev1.RestartPolicyAlways, nil, nil, "a")
	gated.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/y"}}
	tests := []struct {
		name     string
		pod      *corev1.Pod
		statuses []corev1.ContainerStatus
		phase    corev1.PodPhase
		others   []corev1.PodCondition
		ok       bool
		reason   string
		message  string
	}{
		{name: "all ready", pod: podOf(corev1.RestartPolicyAlways, nil, nil, "a"), statuses: []corev1.ContainerStatus{ready}, phase: corev1.PodRunning, ok: true},
		{name: "one unready, one unknown", pod: podOf(corev1.RestartPolicyAlways, nil, nil, "a", "b"), statuses: []corev1.ContainerStatus{as("a", running)}, phase: corev1.PodRunning,
			reason: "ContainersNotReady", message: "containers with unknown status: [b], containers with unready status: [a]"},
		{name: "completed", pod: podOf(corev1.RestartPolicyNever, nil, nil, "a"), statuses: []corev1.ContainerStatus{as("a", terminated(0))}, phase: corev1.PodSucceeded, reason: "PodCompleted"},
		{name: "failed", pod: podOf(corev1.RestartPolicyNever, nil, nil, "a"), statuses: []corev1.ContainerStatus{as("a", terminated(1))}, phase: corev1.PodFailed, reason: "PodFailed"},
		{name: "a gate is missing", pod: gated, statuses: []corev1.ContainerStatus{ready}, phase: corev1.PodRunning, reason: "ReadinessGatesNotReady",
			message: `corresponding condition of pod readiness gate "x/y" does not exist.`},
		{name: "a gate is shut", pod: gated, statuses: []corev1.ContainerStatus{ready}, phase: corev1.PodRunning, others: []corev1.PodCondition{{Type: "x/y", Status: corev1.ConditionFalse}},
			reason: "ReadinessGatesNotReady", message: `the status of pod readiness gate "x/y" is not "True", but False`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := readyVerdict(tt.pod, tt.statuses, tt.phase, tt.others)
			if want := (verdict{ok: tt.ok, reason: tt.reason, message: tt.message}); got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func readyVerdict(pod *corev1.Pod, statuses []corev1.ContainerStatus, phase corev1.PodPhase, others []corev1.PodCondition) verdict {
	return ready(pod, containersReady(pod, statuses, phase), others)
}

func TestGenerateKeepsTimesOfConditionsThatDidNotChange(t *testing.T) {
	pod := podOf(corev1.RestartPolicyAlways, nil, nil, "a")
	first := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	seen := Seen{RuntimeName: "fake", Sandboxes: []runtime.Sandbox{{ID: "s", State: runtime.SandboxReady, IPs: []string{"10.0.0.1"}}},
		Containers: map[string][]runtime.ContainerStatus{"a": {{ID: "c", SandboxID: "s", Name: "a", State: runtime.Running, StartedAt: first}}}}
	one := Generate(pod, &corev1.PodStatus{}, seen, first)
	two := Generate(pod, &one, seen, first.Add(time.Hour))
	for i := range one.Conditions {
		if !two.Conditions[i].LastTransitionTime.Equal(&metav1.Time{Time: first}) {
			t.Errorf("%s moved to %v", two.Conditions[i].Type, two.Conditions[i].LastTransitionTime)
		}
	}
	if one.PodIP != "10.0.0.1" || one.ContainerStatuses[0].ContainerID != "fake://c" || !one.ContainerStatuses[0].Ready {
		t.Errorf("status %+v", one)
	}
	seen.Containers["a"][0].State, seen.Containers["a"][0].ExitCode = runtime.Exited, 1
	three := Generate(pod, &two, seen, first.Add(2*time.Hour))
	c := conditionOf(three.Conditions, corev1.PodReady)
	if c.Status != corev1.ConditionFalse || !c.LastTransitionTime.Equal(&metav1.Time{Time: first.Add(2 * time.Hour)}) {
		t.Errorf("condition %+v", c)
	}
}

func TestLostContainerIsShownAsEnded(t *testing.T) {
	pod := podOf(corev1.RestartPolicyAlways, nil, nil, "a")
	old := corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: running, RestartCount: 2}}}
	s := Generate(pod, &old, Seen{}, time.Now()).ContainerStatuses[0]
	if end := s.LastTerminationState.Terminated; end == nil || end.ExitCode != 137 || end.Reason != "ContainerStatusUnknown" || s.RestartCount != 3 {
		t.Errorf("status %+v", s)
	}
}

func TestFinalShowsAnErrorWhereNoEndIsKnown(t *testing.T) {
	pod := podOf(corev1.RestartPolicyAlways, nil, nil, "a", "b")
	s := Final(pod, corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{as("a", waiting), as("b", terminated(0))}}, time.Now())
	if s.Phase != corev1.PodFailed || s.ContainerStatuses[0].State.Terminated == nil || s.ContainerStatuses[0].State.Terminated.ExitCode != 137 {
		t.Errorf("status %+v", s)
	}
}

func TestFinalLeavesContainersAloneWhoseTurnNeverCame(t *testing.T) {
	pod := podOf(corev1.RestartPolicyNever, []string{"i1", "i2", "i3"}, nil, "a")
	s := Final(pod, corev1.PodStatus{Phase: corev1.PodFailed, InitContainerStatuses: []corev1.ContainerStatus{as("i1", terminated(0)), as("i2", terminated(1)), as("i3", waiting)},
		ContainerStatuses: []corev1.ContainerStatus{as("a", waiting)}}, time.Now())
	if s.Phase != corev1.PodFailed || s.InitContainerStatuses[2].State.Waiting == nil || s.ContainerStatuses[0].State.Waiting == nil {
		t.Errorf("status %+v", s)
	}
}

func TestDifferenceLeavesConditionsOfOthersAlone(t *testing.T) {
	known := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: "x/gate", Status: corev1.ConditionTrue}}}}
	// The gate was shut when this status was generated.
	wanted := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: "x/gate", Status: corev1.ConditionFalse}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	patch, err := difference(known, wanted)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"metadata":{"uid":"u"},"status":{"$setElementOrder/conditions":[{"type":"x/gate"},{"type":"Ready"}],"conditions":[{"lastProbeTime":null,"lastTransitionTime":null,"status":"True","type":"Ready"}],"phase":"Running"}}`; string(patch) != want {
		t.Errorf("patch %s\n want %s", patch, want)
	}
	known.Status.Phase, known.Status.Conditions = corev1.PodRunning, append(known.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	if patch, err = difference(known, wanted); err != nil || patch != nil {
		t.Errorf("a status that is there already is sent: %s %v", patch, err)
	}
}
