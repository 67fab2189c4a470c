package daemonset

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var now = time.Unix(10_000, 0)

func set(surge, unavailable string) *appsv1.DaemonSet {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{
		Template:       corev1.PodTemplateSpec{Spec: corev1.PodSpec{NodeSelector: map[string]string{"os": "linux"}}},
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &s, MaxUnavailable: &u}},
	}}
}

func node(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"os": "linux"}}, Spec: corev1.NodeSpec{Taints: taints}}
}

func pod(name, node, hash string, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{appsv1.DefaultDaemonSetUniqueLabelKey: hash}}, Spec: corev1.PodSpec{NodeName: node}}
	p.Status.Phase = corev1.PodRunning
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))}}
	}
	return p
}

func names(do steps) (create, remove []string) {
	for _, p := range do.remove {
		remove = append(remove, p.Name)
	}
	slices.Sort(remove)
	return do.create, remove
}

func TestFit(t *testing.T) {
	taint := func(key string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Effect: effect}
	}
	other := node("b")
	other.Labels = nil
	tests := []struct {
		name        string
		node        *corev1.Node
		start, stay bool
	}{
		{name: "an ordinary node", node: node("a"), start: true, stay: true},
		{name: "another selector", node: other},
		{name: "cordoned nodes too", node: node("a", taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)), start: true, stay: true},
		{name: "nodes that are not ready too", node: node("a", taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)), start: true, stay: true},
		{name: "a taint against new pods lets old ones stay", node: node("a", taint("mine", corev1.TaintEffectNoSchedule)), stay: true},
		{name: "a taint against all pods", node: node("a", taint("mine", corev1.TaintEffectNoExecute))},
		{name: "a preference is none of our business", node: node("a", taint("mine", corev1.TaintEffectPreferNoSchedule)), start: true, stay: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if start, stay := newFit(set("0", "1")).on(tt.node); start != tt.start || stay != tt.stay {
				t.Errorf("start %v, stay %v", start, stay)
			}
		})
	}
}

func TestPresent(t *testing.T) {
	waiting := newPod(set("0", "1"), "new", "gone")
	waiting.Name = "waiting"
	failed := pod("failed", "a", "new", false)
	failed.Status.Phase = corev1.PodFailed
	other := node("c")
	other.Labels = nil
	tests := []struct {
		name           string
		pods           []*corev1.Pod
		create, remove []string
		ended          int
	}{
		{name: "one on each node that fits", create: []string{"a", "b"}},
		{name: "one only", pods: []*corev1.Pod{pod("1", "a", "new", true), pod("2", "a", "new", true), pod("3", "b", "new", true)}, remove: []string{"2"}},
		{name: "none where it does not fit", pods: []*corev1.Pod{pod("1", "a", "new", true), pod("2", "b", "new", true), pod("3", "c", "new", true)}, remove: []string{"3"}},
		{name: "a failed one is told of", pods: []*corev1.Pod{failed, pod("2", "b", "new", true)}, ended: 1},
		{name: "one that waits for a node that has gone", pods: []*corev1.Pod{pod("1", "a", "new", true), pod("2", "b", "new", true), waiting}, remove: []string{"waiting"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newState(set("0", "1"), []*corev1.Node{node("a"), node("b"), other}, tt.pods, "new", now)
			do, ended := s.present()
			create, remove := names(do)
			if !slices.Equal(create, tt.create) || !slices.Equal(remove, tt.remove) || len(ended) != tt.ended {
				t.Errorf("create %v, remove %v, ended %d", create, remove, len(ended))
			}
		})
	}
}

func TestRoll(t *testing.T) {
	nodes := []*corev1.Node{node("a"), node("b"), node("c")}
	old := func(ready ...bool) (pods []*corev1.Pod) {
		for i, r := range ready {
			pods = append(pods, pod(fmt.Sprintf("old-%d", i), nodes[i].Name, "old", r))
		}
		return pods
	}
	tests := []struct {
		name           string
		set            *appsv1.DaemonSet
		pods           []*corev1.Pod
		create, remove []string
	}{
		{name: "one at a time", set: set("0", "1"), pods: old(true, true, true), remove: []string{"old-0"}},
		{name: "none while a new one is not up", set: set("0", "1"), pods: append(old(true, true), pod("new-c", "c", "new", false))},
		{name: "one that is down anyway costs nothing", set: set("0", "1"), pods: old(true, false, true), remove: []string{"old-1"}},
		{name: "two at a time", set: set("0", "2"), pods: old(true, true, true), remove: []string{"old-0", "old-1"}},
		{name: "beside the old one", set: set("1", "0"), pods: old(true, true, true), create: []string{"a"}},
		{name: "the old one goes when the new one is up", set: set("1", "0"), pods: append(old(true, true, true), pod("new-a", "a", "new", true)), create: []string{"b"}, remove: []string{"old-0"}},
		{name: "not before", set: set("1", "0"), pods: append(old(true, true, true), pod("new-a", "a", "new", false))},
		{name: "done", set: set("0", "1"), pods: []*corev1.Pod{pod("1", "a", "new", true), pod("2", "b", "new", true), pod("3", "c", "new", true)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newState(tt.set, nodes, tt.pods, "new", now)
			create, remove := names(s.roll())
			if !slices.Equal(create, tt.create) || !slices.Equal(remove, tt.remove) {
				t.Errorf("create %v, remove %v; want %v, %v", create, remove, tt.create, tt.remove)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	other := node("c")
	other.Labels = nil
	s := newState(set("0", "1"), []*corev1.Node{node("a"), node("b"), other}, []*corev1.Pod{pod("1", "a", "new", true), pod("2", "c", "old", true)}, "new", now)
	got := s.status(ptr.To[int32](1))
	if got.DesiredNumberScheduled != 2 || got.CurrentNumberScheduled != 1 || got.NumberMisscheduled != 1 || got.NumberReady != 1 || got.UpdatedNumberScheduled != 1 || got.NumberUnavailable != 1 {
		t.Errorf("status %+v", got)
	}
}

func TestNewPodIsForItsNode(t *testing.T) {
	p := newPod(set("0", "1"), "hash", "a")
	if nodeOf(p) != "a" || !updated(set("0", "1"), p, "hash") || len(p.Spec.Tolerations) != 6 {
		t.Errorf("pod %+v", p.Spec)
	}
}
