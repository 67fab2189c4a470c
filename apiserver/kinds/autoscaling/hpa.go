package autoscaling

import (
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// HorizontalPodAutoscaler keeps a metric of some pods near a target by changing how many there are.
var HorizontalPodAutoscaler = kinds.Define(kinds.Row[*autoscalingv2.HorizontalPodAutoscaler]{
	Resource: "horizontalpodautoscalers", ShortNames: []string{"hpa"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	AlsoServed:     []kinds.Version{version1},
	Default:        defaultAutoscaler,
	Validate:       validateAutoscaler,
	ValidateUpdate: validateAutoscalerUpdate,
	ValidateStatus: validateAutoscalerStatus,
	Columns: []kinds.Column[*autoscalingv2.HorizontalPodAutoscaler]{
		kinds.NameColumn[*autoscalingv2.HorizontalPodAutoscaler](),
		{Name: "Reference", Description: kinds.Doc(autoscalingv2.HorizontalPodAutoscalerSpec{}, "scaleTargetRef"),
			Cell: func(h *autoscalingv2.HorizontalPodAutoscaler) any {
				return h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name
			}},
		{Name: "Targets", Description: kinds.Doc(autoscalingv2.HorizontalPodAutoscalerSpec{}, "metrics"), Cell: targets},
		{Name: "MinPods", Description: kinds.Doc(autoscalingv1.HorizontalPodAutoscalerSpec{}, "minReplicas"),
			Cell: func(h *autoscalingv2.HorizontalPodAutoscaler) any {
				if h.Spec.MinReplicas == nil {
					return "<unset>"
				}
				return fmt.Sprint(*h.Spec.MinReplicas)
			}},
		{Name: "MaxPods", Description: kinds.Doc(autoscalingv2.HorizontalPodAutoscalerSpec{}, "maxReplicas"),
			Cell: func(h *autoscalingv2.HorizontalPodAutoscaler) any { return int64(h.Spec.MaxReplicas) }},
		{Name: "Replicas", Description: kinds.Doc(autoscalingv2.HorizontalPodAutoscalerStatus{}, "currentReplicas"),
			Cell: func(h *autoscalingv2.HorizontalPodAutoscaler) any { return int64(h.Status.CurrentReplicas) }},
		kinds.AgeColumn[*autoscalingv2.HorizontalPodAutoscaler](),
	},
})
