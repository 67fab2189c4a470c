package score

import (
	corev1 "k8s.io/api/core/v1"
	schedhelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// Weights of upstream's default profile.
const (
	WeightResources        = 1
	WeightBalanced         = 1
	WeightImages           = 1
	WeightTaints           = 3
	WeightNodeAffinity     = 2
	WeightSpread           = 2
	WeightInterPodAffinity = 2
)

// Taints counts the PreferNoSchedule taints of the node that the pod does not tolerate (raw; fewer is better).
func Taints(p *nodes.Pod, n *nodes.Node) int64 {
	var count int64
	for i := range n.Obj.Spec.Taints {
		t := &n.Obj.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !schedhelper.TolerationsTolerateTaint(klog.Logger{}, p.Obj.Spec.Tolerations, t, true) {
			count++
		}
	}
	return count
}

// NodeAffinity sums the weights of the preferred node affinity terms that the node matches (raw; more is better).
type NodeAffinity struct {
	terms *nodeaffinity.PreferredSchedulingTerms
}

// NewNodeAffinity returns nil if the pod has no preference.
func NewNodeAffinity(p *nodes.Pod) *NodeAffinity {
	a := p.Obj.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return nil
	}
	return &NodeAffinity{terms}
}

// Score is the raw score of the node.
func (a *NodeAffinity) Score(n *nodes.Node) int64 { return a.terms.Score(n.Obj) }
