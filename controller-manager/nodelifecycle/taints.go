package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// byCondition says which state of which condition calls for which taint.
var byCondition = []struct {
	kind   corev1.NodeConditionType
	status corev1.ConditionStatus
	key    string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
}

// taints answers what node's taints should be: those that others put, and ours as its conditions call for. evict says
// whether a node that is not ready may be tainted so that its pods must go; taints that are there already stay.
func taints(node *corev1.Node, evict eviction, now time.Time) []corev1.Taint {
	type taint struct {
		key    string
		effect corev1.TaintEffect
	}
	wanted, ours := map[taint]bool{}, map[taint]bool{{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule}: true}
	var order []taint
	want := func(key string, effect corev1.TaintEffect) {
		wanted[taint{key, effect}] = true
		order = append(order, taint{key, effect})
	}
	for _, rule := range byCondition {
		ours[taint{rule.key, corev1.TaintEffectNoSchedule}] = true
		if c := condition(node, rule.kind); c != nil && c.Status == rule.status {
			want(rule.key, corev1.TaintEffectNoSchedule)
		}
	}
	if node.Spec.Unschedulable {
		want(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	notReady, unreachable := taint{corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute}, taint{corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute}
	ours[notReady], ours[unreachable] = true, true
	if evict != never {
		has := slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
			return t.Effect == corev1.TaintEffectNoExecute && (t.Key == notReady.key || t.Key == unreachable.key)
		})
		if evict == now_ || has {
			switch readiness(node) {
			case corev1.ConditionFalse:
				want(notReady.key, notReady.effect)
			case corev1.ConditionUnknown:
				want(unreachable.key, unreachable.effect)
			}
		}
	}
	var all []corev1.Taint
	for _, t := range node.Spec.Taints {
		id := taint{t.Key, t.Effect}
		if ours[id] && !wanted[id] {
			continue
		}
		delete(wanted, id)
		all = append(all, t)
	}
	for _, id := range order {
		if wanted[id] {
			delete(wanted, id)
			at := metav1.NewTime(now)
			all = append(all, corev1.Taint{Key: id.key, Effect: id.effect, TimeAdded: &at})
		}
	}
	return all
}

// eviction is whether pods may be driven from a node that is not ready.
type eviction int

const (
	never eviction = iota // and what was begun is called off
	later                 // not yet: what was begun goes on
	now_
)
