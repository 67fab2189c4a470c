package filter

import (
	"github.com/skiff-project/skiff/scheduler/nodes"
)

// Verdict is a rule's refusal of a node. Nil is consent.
type Verdict struct {
	// Rule is the rule's name.
	Rule string
	// Reasons are what users read, each counted over all nodes.
	Reasons []string
	// Unresolvable means that no removal of pods from the node would help, so that preemption need not try.
	Unresolvable bool
}

// Rule is a local rule.
type Rule struct {
	Name string
	// Applies says whether the rule has anything to say about the pod at all; nil means always.
	Applies func(p *nodes.Pod) bool
	// Check refuses the node or returns nil.
	Check func(p *nodes.Pod, n *nodes.Node) *Verdict
	// WokenBy says whether a change could let a pod in that this rule has refused.
	WokenBy func(p *nodes.Pod, e Event) bool
}

// Event is a change in the cluster that could make room.
type Event struct {
	// Node and Change are set when a node came or changed.
	Node   *nodes.Node
	Change nodes.Change
	// Gone is a pod that left its node, Came one that has been placed, Relabeled one on a node whose labels changed.
	Gone, Came, Relabeled *nodes.Pod
	// Storage is set when a claim, volume or class changed.
	Storage bool
	// Namespace is set when a namespace's labels changed.
	Namespace bool
}

// Local lists the rules that depend on one node alone, in upstream's order: the first refusal is the one that is told.
// Volumes need other objects and come from NewVolumes.
func Local(volumes *Volumes) []Rule {
	rules := []Rule{nodeUnschedulable, nodeName, taintToleration, nodeAffinity, nodePorts, nodeResourcesFit}
	if volumes != nil {
		rules = append(rules, volumes.rule())
	}
	return rules
}

// For keeps the rules that apply to the pod.
func For(p *nodes.Pod, all []Rule) []Rule {
	var out []Rule
	for _, r := range all {
		if r.Applies == nil || r.Applies(p) {
			out = append(out, r)
		}
	}
	return out
}

// Check is the first refusal of the rules, or nil.
func Check(rules []Rule, p *nodes.Pod, n *nodes.Node) *Verdict {
	for i := range rules {
		if v := rules[i].Check(p, n); v != nil {
			return v
		}
	}
	return nil
}

func nodeCame(e Event) bool { return e.Node != nil && e.Change.Added }
