package podspec

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// QOS is the class of service that a pod's requests and limits earn it: all of cpu and memory limited to what is
// requested, nothing said at all, or anything between.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Spec.Resources != nil && resourcehelper.IsPodLevelResourcesSet(pod) {
		return qosOf(pod.Spec.Resources)
	}
	classes := map[corev1.PodQOSClass]bool{}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			classes[qosOf(&containers[i].Resources)] = true
		}
	}
	return common(classes)
}

func qosOf(r *corev1.ResourceRequirements) corev1.PodQOSClass {
	classes := map[corev1.PodQOSClass]bool{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		switch {
		case !request.Equal(limit):
			return corev1.PodQOSBurstable
		case request.IsZero():
			classes[corev1.PodQOSBestEffort] = true
		default:
			classes[corev1.PodQOSGuaranteed] = true
		}
	}
	return common(classes)
}

// common is the class that all agree on, burstable if they do not.
func common(classes map[corev1.PodQOSClass]bool) corev1.PodQOSClass {
	switch len(classes) {
	case 0:
		return corev1.PodQOSBestEffort
	case 1:
		for class := range classes {
			return class
		}
	}
	return corev1.PodQOSBurstable
}
