package daemonset

import (
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// fit says whether pods of a set belong on a node. It is made once for all nodes.
type fit struct {
	node        string // the only one, if the template names one
	affinity    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration
}

func newFit(set *appsv1.DaemonSet) fit {
	spec := &set.Spec.Template.Spec
	return fit{
		node: spec.NodeName, tolerations: tolerations(spec),
		affinity: nodeaffinity.NewRequiredNodeAffinity(spec.NodeSelector, spec.Affinity),
	}
}

// on answers whether a pod should be started on the node, and whether one that runs there may stay.
func (f fit) on(node *corev1.Node) (start, stay bool) {
	if f.node != "" && f.node != node.Name {
		return false, false
	}
	if ok, err := f.affinity.Match(node); err == nil && !ok {
		return false, false
	}
	if f.tolerates(node, corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule) {
		return true, true
	}
	return false, f.tolerates(node, corev1.TaintEffectNoExecute)
}

func (f fit) tolerates(node *corev1.Node, effects ...corev1.TaintEffect) bool {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if !slices.Contains(effects, taint.Effect) {
			continue
		}
		if !slices.ContainsFunc(f.tolerations, func(t corev1.Toleration) bool { return t.ToleratesTaint(klog.Background(), taint, true) }) {
			return false
		}
	}
	return true
}

// tolerations answers those of the template and those that every daemon has: it is there when the node is in trouble.
func tolerations(spec *corev1.PodSpec) []corev1.Toleration {
	all := slices.Clone(spec.Tolerations)
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		if !slices.ContainsFunc(all, func(has corev1.Toleration) bool { return has.MatchToleration(&t) }) {
			all = append(all, t)
		}
	}
	add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	if spec.HostNetwork {
		add(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
	return all
}

// newPod answers the pod of set for a node.
func newPod(set *appsv1.DaemonSet, hash, node string) *corev1.Pod {
	pod := control.PodFrom(&set.Spec.Template, set, control.Reference(set, kind))
	pod.Labels = maps.Clone(pod.Labels)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if generation, ok := templateGeneration(set); ok {
		pod.Labels["pod-template-generation"] = generation
	}
	pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
	pod.Spec.Tolerations = tolerations(&set.Spec.Template.Spec)
	// Other required affinities have been looked at here, and may change while the pod runs: the name alone stays true.
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	if pod.Spec.Affinity.NodeAffinity == nil {
		pod.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{
			Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
		}}}},
	}
	return pod
}

// templateGeneration is a number that DaemonSets had before they had hashes.
func templateGeneration(set *appsv1.DaemonSet) (string, bool) {
	text, ok := set.Annotations[appsv1.DeprecatedTemplateGeneration]
	if !ok {
		return "", false
	}
	_, err := strconv.ParseInt(text, 10, 64)
	return text, err == nil
}

// updated says that pod has the set's present template.
func updated(set *appsv1.DaemonSet, pod *corev1.Pod, hash string) bool {
	if hash != "" && pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == hash {
		return true
	}
	generation, ok := templateGeneration(set)
	return ok && pod.Labels["pod-template-generation"] == generation
}

// nodeOf answers the node that pod is on or made for.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	if a := pod.Spec.Affinity; a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}
