package admission

import (
	"fmt"
	"runtime"
	"strings"

	corev1 "k8s.io/api/core/v1"
	podresources "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Refusal is why a pod is not taken.
type Refusal struct{ Reason, Message string }

// Check holds a pod against the node and the pods that are on it already. node carries labels, taints and allocatable resources.
func Check(pod *corev1.Pod, node *corev1.Node, others []*corev1.Pod) *Refusal {
	for _, rule := range []func(*corev1.Pod, *corev1.Node, []*corev1.Pod) *Refusal{system, sysctls, Resources, affinity, ports, taints} {
		if r := rule(pod, node, others); r != nil {
			return r
		}
	}
	return nil
}

func system(pod *corev1.Pod, node *corev1.Node, _ []*corev1.Pod) *Refusal {
	if want, ok := pod.Labels[corev1.LabelOSStable]; ok && want != runtime.GOOS {
		return &Refusal{"PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"}
	}
	if pod.Spec.OS != nil && string(pod.Spec.OS.Name) != runtime.GOOS {
		return &Refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	return nil
}

// Resources says whether the pod's requests fit beside those of the others.
func Resources(pod *corev1.Pod, node *corev1.Node, others []*corev1.Pod) *Refusal {
	free := node.Status.Allocatable
	if max := free[corev1.ResourcePods]; !max.IsZero() && int64(len(others))+1 > max.Value() {
		return insufficient(corev1.ResourcePods, 1, int64(len(others)), max.Value())
	}
	used := map[corev1.ResourceName]int64{}
	for _, other := range others {
		for name, q := range podresources.PodRequests(other, podresources.PodResourcesOptions{UseStatusResources: true}) {
			used[name] += amount(name, &q)
		}
	}
	requests := podresources.PodRequests(pod, podresources.PodResourcesOptions{})
	for _, name := range order(requests) {
		q := requests[name]
		want := amount(name, &q)
		capacity, known := free[name]
		if want == 0 || !known && extended(name) {
			continue // resources that the node does not know belong to the cluster
		}
		if have := amount(name, &capacity); want > have-used[name] {
			return insufficient(name, want, used[name], have)
		}
	}
	return nil
}

func insufficient(name corev1.ResourceName, requested, used, capacity int64) *Refusal {
	return &Refusal{"OutOf" + string(name),
		fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, used, capacity)}
}

// order is the one in which the scheduler looks at resources, so that the same one is named first.
func order(list corev1.ResourceList) []corev1.ResourceName {
	names := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	for name := range list {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		default:
			names = append(names, name)
		}
	}
	return names
}

func extended(name corev1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") && !strings.Contains(s, corev1.ResourceDefaultNamespacePrefix)
}

func amount(name corev1.ResourceName, q interface {
	MilliValue() int64
	Value() int64
}) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func affinity(pod *corev1.Pod, node *corev1.Node, _ []*corev1.Pod) *Refusal {
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !ok {
		return &Refusal{"NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"}
	}
	return nil
}

type hostPort struct {
	protocol corev1.Protocol
	ip       string
	port     int32
}

func ports(pod *corev1.Pod, _ *corev1.Node, others []*corev1.Pod) *Refusal {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return nil
	}
	for _, other := range others {
		for _, taken := range hostPorts(other) {
			for _, w := range wanted {
				if w.port == taken.port && w.protocol == taken.protocol && (w.ip == taken.ip || w.ip == anywhere || taken.ip == anywhere) {
					return &Refusal{"NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"}
				}
			}
		}
	}
	return nil
}

const anywhere = "0.0.0.0"

func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort == 0 {
					continue
				}
				h := hostPort{protocol: p.Protocol, ip: p.HostIP, port: p.HostPort}
				if h.protocol == "" {
					h.protocol = corev1.ProtocolTCP
				}
				if h.ip == "" || h.ip == "::" {
					h.ip = anywhere
				}
				out = append(out, h)
			}
		}
	}
	return out
}

// taints looks only at NoExecute: whoever put the pod here by name may override the others. Static pods run in any case.
func taints(pod *corev1.Pod, node *corev1.Node, _ []*corev1.Pod) *Refusal {
	if source := pod.Annotations["kubernetes.io/config.source"]; source != "" && source != "api" {
		return nil
	}
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoExecute || tolerated(pod.Spec.Tolerations, t) {
			continue
		}
		return &Refusal{"TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"}
	}
	return nil
}

func tolerated(list []corev1.Toleration, t *corev1.Taint) bool {
	for i := range list {
		if list[i].Effect != "" && list[i].Effect != t.Effect || list[i].Key != "" && list[i].Key != t.Key {
			continue
		}
		switch list[i].Operator {
		case corev1.TolerationOpExists:
			return true
		case "", corev1.TolerationOpEqual:
			if list[i].Key != "" && list[i].Value == t.Value {
				return true
			}
		}
	}
	return false
}
