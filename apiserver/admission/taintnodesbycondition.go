package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// TaintNodesByCondition keeps pods off a new node until a controller has seen it ready.
func TaintNodesByCondition() Rule {
	return Rule{Name: "TaintNodesByCondition", Mutate: func(_ context.Context, a *Attributes) error {
		if !a.Is("", "nodes", "") || a.Operation != Create {
			return nil
		}
		node := a.Object.(*corev1.Node)
		taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
		if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
			node.Spec.Taints = append(node.Spec.Taints, taint)
		}
		return nil
	}}
}
