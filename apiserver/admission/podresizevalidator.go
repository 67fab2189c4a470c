package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
)

// PodResizeValidator refuses to resize a pod beyond what its node has.
func PodResizeValidator(o *Objects) Rule {
	return Rule{Name: "PodResizeValidator", Validate: func(ctx context.Context, a *Attributes) error {
		if !a.Is("", "pods", "resize") || a.Operation != Update {
			return nil
		}
		pod, old := a.Object.(*corev1.Pod), a.Old.(*corev1.Pod)
		if pod.Spec.NodeName == "" || pod.Generation == old.Generation {
			return nil
		}
		obj, err := o.get(ctx, core("nodes"), "", pod.Spec.NodeName)
		if apierrors.IsNotFound(err) {
			return forbidden(a, "node %q not found", pod.Spec.NodeName)
		}
		if err != nil {
			return forbidden(a, "failed to get node %q: %w", pod.Spec.NodeName, err)
		}
		node := obj.(*corev1.Node)
		if os, ok := node.Labels[corev1.LabelOSStable]; ok && os != "linux" {
			return because("UnsupportedPlatform", forbidden(a, "pod resize is only supported on linux nodes, node %q is %q", node.Name, os))
		}
		if lacks := lacking(pod, node.Status.Allocatable); lacks != "" {
			return because("NodeCapacity", forbidden(a, "node didn't have enough allocatable resources: %s", lacks))
		}
		return nil
	}}
}

func lacking(pod *corev1.Pod, allocatable corev1.ResourceList) string {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	var out []string
	if r, have := requests[corev1.ResourceCPU], allocatable.Cpu(); r.Cmp(*have) > 0 {
		out = append(out, fmt.Sprintf("cpu, requested: %d, allocatable: %d", r.MilliValue(), have.MilliValue()))
	}
	if r, have := requests[corev1.ResourceMemory], allocatable.Memory(); r.Cmp(*have) > 0 {
		out = append(out, fmt.Sprintf("memory, requested: %d, allocatable: %d", r.Value(), have.Value()))
	}
	return strings.Join(out, "; ")
}

// because adds a cause to a refusal.
func because(cause metav1.CauseType, refusal error) error {
	var status *apierrors.StatusError
	if errors.As(refusal, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return refusal
}
