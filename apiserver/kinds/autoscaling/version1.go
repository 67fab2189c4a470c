package autoscaling

import (
	"encoding/json"
	"fmt"
	"maps"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

// version1 knows no metric but the CPU; the others are in annotations there.
var version1 = kinds.Version{
	GVK: autoscalingv1.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), ListKind: "HorizontalPodAutoscalerList",
	New:     func() runtime.Object { return &autoscalingv1.HorizontalPodAutoscaler{} },
	NewList: func() runtime.Object { return &autoscalingv1.HorizontalPodAutoscalerList{} },
	FromHub: func(o runtime.Object) (runtime.Object, error) {
		h, ok := o.(*autoscalingv2.HorizontalPodAutoscaler)
		if !ok {
			return nil, fmt.Errorf("convert autoscaler: got %T", o)
		}
		return toVersion1(h.DeepCopy())
	},
	ToHub: func(o runtime.Object) (runtime.Object, error) {
		h, ok := o.(*autoscalingv1.HorizontalPodAutoscaler)
		if !ok {
			return nil, fmt.Errorf("convert autoscaler: got %T", o)
		}
		return fromVersion1(h.DeepCopy()), nil
	},
}

const annotationDomain = "autoscaling.alpha.kubernetes.io/"

// The annotations that carry what version 1 has no fields for.
const (
	metricsAnnotation        = annotationDomain + "metrics"
	currentMetricsAnnotation = annotationDomain + "current-metrics"
	conditionsAnnotation     = annotationDomain + "conditions"
	behaviorAnnotation       = annotationDomain + "behavior"
)

var roundTrip = []string{metricsAnnotation, currentMetricsAnnotation, conditionsAnnotation, behaviorAnnotation,
	annotationDomain + "scale-down-tolerance", annotationDomain + "scale-up-tolerance"}

// withoutRoundTrip leaves the annotations of conversion out of a copy; a map without any is returned as it is.
func withoutRoundTrip(annotations map[string]string) map[string]string {
	out := annotations
	for _, name := range roundTrip {
		if _, ok := annotations[name]; !ok {
			continue
		}
		if len(out) == len(annotations) {
			out = maps.Clone(annotations)
		}
		delete(out, name)
	}
	return out
}

func cpuShare(m autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU &&
		m.Resource.Target.AverageUtilization != nil
}

func toVersion1(h *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv1.HorizontalPodAutoscaler, error) {
	out := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: h.ObjectMeta}
	out.SetGroupVersionKind(autoscalingv1.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"))
	out.Spec = autoscalingv1.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
		MinReplicas: h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas}
	out.Status = autoscalingv1.HorizontalPodAutoscalerStatus{ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas}

	var others []autoscalingv1.MetricSpec
	for _, m := range h.Spec.Metrics {
		switch {
		case !cpuShare(m):
			others = append(others, metricTo1(m))
		case out.Spec.TargetCPUUtilizationPercentage == nil:
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
		}
	}
	// The CPU's status is kept in the annotation as well: the field has the share only, not the amount.
	var current []autoscalingv1.MetricStatus
	for _, m := range h.Status.CurrentMetrics {
		current = append(current, metricStatusTo1(m))
		if m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil && m.Resource.Name == corev1.ResourceCPU && m.Resource.Current.AverageUtilization != nil {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	for _, c := range h.Status.Conditions {
		conditions = append(conditions, autoscalingv1.HorizontalPodAutoscalerCondition{Type: autoscalingv1.HorizontalPodAutoscalerConditionType(c.Type),
			Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message, ObservedGeneration: c.ObservedGeneration})
	}

	annotations := maps.Clone(withoutRoundTrip(h.Annotations))
	add := func(name string, present bool, value any) error {
		if !present {
			return nil
		}
		text, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("convert autoscaler: %s: %w", name, err)
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[name] = string(text)
		return nil
	}
	for _, err := range []error{
		add(metricsAnnotation, len(others) > 0, others),
		add(currentMetricsAnnotation, len(current) > 0, current),
		add(behaviorAnnotation, h.Spec.Behavior != nil, shape.Of(h.Spec.Behavior)),
		add(conditionsAnnotation, len(conditions) > 0, conditions),
	} {
		if err != nil {
			return nil, err
		}
	}
	out.Annotations = annotations
	return out, nil
}

// fromVersion1 takes no notice of annotations that are not what conversion writes: clients may write what they like.
func fromVersion1(h *autoscalingv1.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscaler {
	out := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: h.ObjectMeta}
	out.SetGroupVersionKind(autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"))
	out.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
		MinReplicas: h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas}
	out.Status = autoscalingv2.HorizontalPodAutoscalerStatus{ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
		CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas}

	var others []autoscalingv1.MetricSpec
	if read(h, metricsAnnotation, &others) {
		for _, m := range others {
			out.Spec.Metrics = append(out.Spec.Metrics, metricFrom1(m))
		}
	}
	if share := h.Spec.TargetCPUUtilizationPercentage; share != nil {
		out.Spec.Metrics = append(out.Spec.Metrics, cpuMetric(*share))
	}
	var behavior autoscalingv2.HorizontalPodAutoscalerBehavior
	if read(h, behaviorAnnotation, &behavior) && behavior != (autoscalingv2.HorizontalPodAutoscalerBehavior{}) {
		out.Spec.Behavior = &behavior
	}

	if share := h.Status.CurrentCPUUtilizationPercentage; share != nil {
		out.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: share}}}}
	}
	var current []autoscalingv1.MetricStatus
	if read(h, currentMetricsAnnotation, &current) {
		out.Status.CurrentMetrics = nil
		for _, m := range current {
			out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, metricStatusFrom1(m))
		}
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	if read(h, conditionsAnnotation, &conditions) {
		for _, c := range conditions {
			out.Status.Conditions = append(out.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
				Type: autoscalingv2.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime,
				Reason: c.Reason, Message: c.Message, ObservedGeneration: c.ObservedGeneration})
		}
	}
	out.Annotations = withoutRoundTrip(h.Annotations)
	return out
}

func read(h *autoscalingv1.HorizontalPodAutoscaler, annotation string, into any) bool {
	text, ok := h.Annotations[annotation]
	return ok && json.Unmarshal([]byte(text), into) == nil
}
