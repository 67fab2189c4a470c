package nodelifecycle

import (
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var now = time.Unix(10_000, 0)

func node(ready corev1.ConditionStatus, changes ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.NewTime(now)}}
	}
	for _, change := range changes {
		change(n)
	}
	return n
}

func taint(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

func TestTaints(t *testing.T) {
	pressed := func(n *corev1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
	}
	tests := []struct {
		name  string
		node  *corev1.Node
		evict eviction
		want  []string
	}{
		{name: "a ready node has none", node: node(corev1.ConditionTrue), evict: now_},
		{name: "ours go when the node is ready", node: node(corev1.ConditionTrue, taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule), taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)), evict: later},
		{name: "those of others stay", node: node(corev1.ConditionTrue, taint("mine", corev1.TaintEffectNoExecute)), evict: now_, want: []string{"mine:NoExecute"}},
		{name: "not ready", node: node(corev1.ConditionFalse), evict: now_, want: []string{corev1.TaintNodeNotReady + ":NoSchedule", corev1.TaintNodeNotReady + ":NoExecute"}},
		{name: "silent", node: node(corev1.ConditionUnknown), evict: now_, want: []string{corev1.TaintNodeUnreachable + ":NoSchedule", corev1.TaintNodeUnreachable + ":NoExecute"}},
		{name: "silent, but evictions have to wait", node: node(corev1.ConditionUnknown), evict: later, want: []string{corev1.TaintNodeUnreachable + ":NoSchedule"}},
		{name: "what was begun goes on", node: node(corev1.ConditionUnknown, taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)), evict: later, want: []string{corev1.TaintNodeUnreachable + ":NoSchedule", corev1.TaintNodeUnreachable + ":NoExecute"}},
		{name: "all are down: called off", node: node(corev1.ConditionUnknown, taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)), evict: never, want: []string{corev1.TaintNodeUnreachable + ":NoSchedule"}},
		{name: "pressure", node: node(corev1.ConditionTrue, pressed), evict: now_, want: []string{corev1.TaintNodeDiskPressure + ":NoSchedule"}},
		{name: "cordoned", node: node(corev1.ConditionTrue, func(n *corev1.Node) { n.Spec.Unschedulable = true }), evict: now_, want: []string{corev1.TaintNodeUnschedulable + ":NoSchedule"}},
		{name: "has never said anything", node: node(""), evict: now_},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, taint := range taints(tt.node, tt.evict, now) {
				got = append(got, taint.Key+":"+string(taint.Effect))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("taints %v, want %v", got, tt.want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	h := &health{seen: now}
	n := node(corev1.ConditionTrue)
	h.look(n, nil, now.Add(time.Second))
	if !h.seen.Equal(now.Add(time.Second)) {
		t.Error("a first heartbeat counts")
	}
	h.look(n, nil, now.Add(20*time.Second))
	if !h.seen.Equal(now.Add(time.Second)) {
		t.Error("the same heartbeat does not count again")
	}
	lease := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NewMicroTime(now))}}
	h.look(n, lease, now.Add(30*time.Second))
	if !h.seen.Equal(now.Add(30 * time.Second)) {
		t.Error("a renewed lease counts")
	}
	lease = &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NewMicroTime(now.Add(-time.Hour)))}}
	h.look(n, lease, now.Add(40*time.Second))
	if !h.seen.Equal(now.Add(30 * time.Second)) {
		t.Error("a lease whose time goes back does not count")
	}
}

func TestSilence(t *testing.T) {
	n := node(corev1.ConditionTrue)
	n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse})
	if !silence(n, now) || silence(n, now) {
		t.Error("changes once")
	}
	if ready := condition(n, corev1.NodeReady); ready.Status != corev1.ConditionUnknown || ready.Reason != "NodeStatusUnknown" {
		t.Errorf("ready %+v", ready)
	}
	if memory := condition(n, corev1.NodeMemoryPressure); memory.Reason != "NodeStatusNeverUpdated" {
		t.Errorf("memory %+v", memory)
	}
	if network := condition(n, corev1.NodeNetworkUnavailable); network.Status != corev1.ConditionFalse {
		t.Errorf("network %+v", network)
	}
}

func TestLimits(t *testing.T) {
	config := Config{EvictionRate: 0.1, SecondRate: 0.01, Unhealthy: 0.55, Large: 50}
	tests := []struct {
		name          string
		zone          count
		first, second bool
		again         time.Duration
	}{
		{name: "one at a time", zone: count{ready: 9, down: 1}, first: true, again: 10 * time.Second},
		{name: "a small zone that is mostly down is left alone", zone: count{ready: 2, down: 8}},
		{name: "a large one goes slowly", zone: count{ready: 20, down: 80}, first: true, again: 100 * time.Second},
		{name: "two of three are not yet a disruption", zone: count{ready: 1, down: 2}, first: true, again: 10 * time.Second},
		{name: "all of a zone down, others not: as usual", zone: count{down: 5}, first: true, again: 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := limits{config: config}
			first, _ := l.allow("z", tt.zone, now)
			second, again := l.allow("z", tt.zone, now)
			if first != tt.first || second || again.Round(time.Second) != tt.again {
				t.Errorf("first %v, second %v, again in %s", first, second, again)
			}
			if tt.again > 0 {
				if third, _ := l.allow("z", tt.zone, now.Add(tt.again+time.Second)); !third {
					t.Error("not even later")
				}
			}
		})
	}
}

func TestCensus(t *testing.T) {
	out := node(corev1.ConditionTrue, func(n *corev1.Node) { n.Labels = map[string]string{excluded: ""} })
	zones := census([]*corev1.Node{node(corev1.ConditionUnknown), node(""), out})
	if !noneReady(zones) || zones[""].down != 2 {
		t.Errorf("zones %+v", zones)
	}
	if noneReady(census([]*corev1.Node{node(corev1.ConditionUnknown), node(corev1.ConditionTrue)})) {
		t.Error("one is ready")
	}
	if noneReady(census(nil)) {
		t.Error("no nodes at all are no disruption")
	}
}
