package quota

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Scopes answers everything that a pod must match to fall under a quota.
func Scopes(quota *corev1.ResourceQuota) []corev1.ScopedResourceSelectorRequirement {
	var all []corev1.ScopedResourceSelectorRequirement
	for _, scope := range quota.Spec.Scopes {
		all = append(all, corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists})
	}
	if quota.Spec.ScopeSelector != nil {
		all = append(all, quota.Spec.ScopeSelector.MatchExpressions...)
	}
	return all
}

// Covers says that a pod falls under a quota.
func Covers(quota *corev1.ResourceQuota, pod *corev1.Pod) bool {
	for _, scope := range Scopes(quota) {
		if !InScope(scope, pod) {
			return false
		}
	}
	return true
}

// InScope says that a pod matches one scope.
func InScope(scope corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) bool {
	switch scope.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating(pod)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating(pod)
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod)
	case corev1.ResourceQuotaScopePriorityClass:
		return hasPriority(scope, pod)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossNamespaceAffinity(pod)
	}
	return false
}

// terminating pods are those that are to end by themselves.
func terminating(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// bestEffort is computed, not read off the status: at admission there is none.
func bestEffort(pod *corev1.Pod) bool {
	matter := func(list corev1.ResourceList) bool {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if quantity, ok := list[name]; ok && !quantity.IsZero() {
				return true
			}
		}
		return false
	}
	if r := pod.Spec.Resources; r != nil && (matter(r.Requests) || matter(r.Limits)) {
		return false
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if matter(list[i].Resources.Requests) || matter(list[i].Resources.Limits) {
				return false
			}
		}
	}
	return true
}

func hasPriority(scope corev1.ScopedResourceSelectorRequirement, pod *corev1.Pod) bool {
	if scope.Operator == corev1.ScopeSelectorOpExists {
		return pod.Spec.PriorityClassName != ""
	}
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	requirement, err := labels.NewRequirement(string(scope.ScopeName), operators[scope.Operator], scope.Values)
	if err != nil {
		return false
	}
	set := labels.Set{}
	if pod.Spec.PriorityClassName != "" {
		set[string(scope.ScopeName)] = pod.Spec.PriorityClassName
	}
	return requirement.Matches(set)
}

func crossNamespaceAffinity(pod *corev1.Pod) bool {
	if pod.Spec.Affinity == nil {
		return false
	}
	crosses := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) bool {
		for _, term := range required {
			if leaves(term.Namespaces, term.NamespaceSelector) {
				return true
			}
		}
		for _, term := range preferred {
			if leaves(term.PodAffinityTerm.Namespaces, term.PodAffinityTerm.NamespaceSelector) {
				return true
			}
		}
		return false
	}
	if a := pod.Spec.Affinity.PodAffinity; a != nil && crosses(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution) {
		return true
	}
	a := pod.Spec.Affinity.PodAntiAffinity
	return a != nil && crosses(a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution)
}

func leaves(namespaces []string, selector *metav1.LabelSelector) bool {
	return len(namespaces) > 0 || selector != nil
}
