package filter

import (
	corev1 "k8s.io/api/core/v1"
	schedhelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

var nodeUnschedulable = Rule{
	Name: "NodeUnschedulable",
	Check: func(p *nodes.Pod, n *nodes.Node) *Verdict {
		if !n.Obj.Spec.Unschedulable {
			return nil
		}
		taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
		if tolerates(p, &taint) {
			return nil
		}
		return &Verdict{Rule: "NodeUnschedulable", Reasons: []string{"node(s) were unschedulable"}, Unresolvable: true}
	},
	WokenBy: func(_ *nodes.Pod, e Event) bool { return nodeCame(e) || e.Change.Taints },
}

var nodeName = Rule{
	Name:    "NodeName",
	Applies: func(p *nodes.Pod) bool { return p.Obj.Spec.NodeName != "" },
	Check: func(p *nodes.Pod, n *nodes.Node) *Verdict {
		if p.Obj.Spec.NodeName == n.Name {
			return nil
		}
		return &Verdict{Rule: "NodeName", Reasons: []string{"node(s) didn't match the requested node name"}, Unresolvable: true}
	},
	WokenBy: func(_ *nodes.Pod, e Event) bool { return nodeCame(e) },
}

var taintToleration = Rule{
	Name: "TaintToleration",
	Check: func(p *nodes.Pod, n *nodes.Node) *Verdict {
		for i := range n.Obj.Spec.Taints {
			if t := &n.Obj.Spec.Taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(p, t) {
				return &Verdict{Rule: "TaintToleration", Reasons: []string{"node(s) had untolerated taint(s)"}, Unresolvable: true}
			}
		}
		return nil
	},
	WokenBy: func(_ *nodes.Pod, e Event) bool { return nodeCame(e) || e.Change.Taints },
}

func tolerates(p *nodes.Pod, taint *corev1.Taint) bool {
	return schedhelper.TolerationsTolerateTaint(klog.Logger{}, p.Obj.Spec.Tolerations, taint, true)
}

var nodeAffinity = Rule{
	Name: "NodeAffinity",
	Applies: func(p *nodes.Pod) bool {
		a := p.Obj.Spec.Affinity
		return len(p.Obj.Spec.NodeSelector) > 0 || a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	},
	Check: func(p *nodes.Pod, n *nodes.Node) *Verdict {
		if matchesNode(p, n) {
			return nil
		}
		return &Verdict{Rule: "NodeAffinity", Reasons: []string{"node(s) didn't match Pod's node affinity/selector"}, Unresolvable: true}
	},
	WokenBy: func(_ *nodes.Pod, e Event) bool { return nodeCame(e) || e.Change.Labels },
}

// matchesNode says whether the pod's node selector and required node affinity choose the node.
func matchesNode(p *nodes.Pod, n *nodes.Node) bool {
	ok, err := nodeaffinity.GetRequiredNodeAffinity(p.Obj).Match(n.Obj)
	return ok && err == nil
}

var nodePorts = Rule{
	Name:    "NodePorts",
	Applies: func(p *nodes.Pod) bool { return len(p.Ports) > 0 },
	Check: func(p *nodes.Pod, n *nodes.Node) *Verdict {
		for _, other := range n.Pods {
			for _, held := range other.Ports {
				for _, wanted := range p.Ports {
					if wanted.Conflicts(held) {
						return &Verdict{Rule: "NodePorts", Reasons: []string{"node(s) didn't have free ports for the requested pod ports"}}
					}
				}
			}
		}
		return nil
	},
	WokenBy: func(_ *nodes.Pod, e Event) bool { return nodeCame(e) || e.Gone != nil && len(e.Gone.Ports) > 0 },
}

var nodeResourcesFit = Rule{
	Name:  "NodeResourcesFit",
	Check: checkResources,
	WokenBy: func(_ *nodes.Pod, e Event) bool {
		return nodeCame(e) || e.Change.Allocatable || e.Gone != nil
	},
}

func checkResources(p *nodes.Pod, n *nodes.Node) *Verdict {
	var reasons []string
	unresolvable := false
	lacks := func(what string, want, used, have int64) {
		if want > 0 && want > have-used {
			reasons = append(reasons, what)
			unresolvable = unresolvable || want > have
		}
	}
	if int64(len(n.Pods))+1 > n.Allocatable.Pods {
		reasons = append(reasons, "Too many pods")
		unresolvable = n.Allocatable.Pods == 0
	}
	want, used, have := &p.Request, &n.Requested, &n.Allocatable
	lacks("Insufficient cpu", want.CPU, used.CPU, have.CPU)
	lacks("Insufficient memory", want.Memory, used.Memory, have.Memory)
	lacks("Insufficient ephemeral-storage", want.Ephemeral, used.Ephemeral, have.Ephemeral)
	for name, w := range want.Scalar {
		lacks("Insufficient "+string(name), w, used.Scalar[name], have.Scalar[name])
	}
	if reasons == nil {
		return nil
	}
	return &Verdict{Rule: "NodeResourcesFit", Reasons: reasons, Unresolvable: unresolvable}
}
