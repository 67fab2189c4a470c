package podgc

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExcess(t *testing.T) {
	pod := func(name string, phase corev1.PodPhase, reason string, age int) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))}, Status: corev1.PodStatus{Phase: phase, Reason: reason}}
	}
	pods := []*corev1.Pod{
		pod("running", corev1.PodRunning, "", 100), pod("young", corev1.PodSucceeded, "", 1), pod("old", corev1.PodSucceeded, "", 50), pod("evicted", corev1.PodFailed, "Evicted", 2),
	}
	for keep, want := range map[int][]string{0: nil, 5: nil, 3: nil, 2: {"evicted"}, 1: {"evicted", "old"}} {
		var got []string
		for _, p := range excess(pods, keep) {
			got = append(got, p.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("keep %d: %v, want %v", keep, got, want)
		}
	}
}

func TestOutOfService(t *testing.T) {
	node := func(taint string, ready corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: taint}}}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
	}
	if !outOfService(node(corev1.TaintNodeOutOfService, corev1.ConditionUnknown)) {
		t.Error("declared dead, and silent")
	}
	if outOfService(node(corev1.TaintNodeOutOfService, corev1.ConditionTrue)) {
		t.Error("declared dead, but ready")
	}
	if outOfService(node("other", corev1.ConditionUnknown)) {
		t.Error("silent only")
	}
}
