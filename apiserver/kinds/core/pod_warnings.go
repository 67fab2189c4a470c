package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// podWarnings: people create pods, and are told; updates are the work of programs, and many.
func podWarnings(req *kinds.Request, pod, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	out := req.Notes
	if m := validation.IsDNS1123Label(pod.Name); len(m) > 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", m))
	}
	return append(out, podspec.Warnings(&pod.ObjectMeta, &pod.Spec, nil)...)
}

func podStatusWarnings(_ *kinds.Request, pod, _ *corev1.Pod) []string {
	var out []string
	for i, ip := range pod.Status.PodIPs {
		out = append(out, validation.GetWarningsForIP(field.NewPath("status", "podIPs").Index(i).Child("ip"), ip.IP)...)
	}
	for i, ip := range pod.Status.HostIPs {
		out = append(out, validation.GetWarningsForIP(field.NewPath("status", "hostIPs").Index(i).Child("ip"), ip.IP)...)
	}
	return out
}
