package autoscaling

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
)

// targets shows each metric's value and goal, two of them at most.
func targets(h *autoscalingv2.HorizontalPodAutoscaler) any {
	if len(h.Spec.Metrics) == 0 {
		return "<none>"
	}
	const most = 2
	var texts []string
	for i, spec := range h.Spec.Metrics {
		if i == most {
			return fmt.Sprintf("%s + %d more...", strings.Join(texts, ", "), len(h.Spec.Metrics)-most)
		}
		texts = append(texts, metricText(spec, statusOf(h, i)))
	}
	return strings.Join(texts, ", ")
}

// statusOf is what was last seen of a metric; empty if nothing was.
func statusOf(h *autoscalingv2.HorizontalPodAutoscaler, i int) autoscalingv2.MetricStatus {
	if i < len(h.Status.CurrentMetrics) {
		return h.Status.CurrentMetrics[i]
	}
	return autoscalingv2.MetricStatus{}
}

func metricText(spec autoscalingv2.MetricSpec, seen autoscalingv2.MetricStatus) string {
	var now *autoscalingv2.MetricValueStatus
	switch {
	case spec.Type == autoscalingv2.ExternalMetricSourceType && spec.External != nil:
		if seen.External != nil {
			now = &seen.External.Current
		}
		return amount(spec.External.Target, now)
	case spec.Type == autoscalingv2.ObjectMetricSourceType && spec.Object != nil:
		if seen.Object != nil {
			now = &seen.Object.Current
		}
		return amount(spec.Object.Target, now)
	case spec.Type == autoscalingv2.PodsMetricSourceType && spec.Pods != nil:
		if seen.Pods != nil {
			now = &seen.Pods.Current
		}
		return average(spec.Pods.Target, now)
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		if seen.Resource != nil {
			now = &seen.Resource.Current
		}
		return spec.Resource.Name.String() + ": " + usage(spec.Resource.Target, now)
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		if seen.ContainerResource != nil {
			now = &seen.ContainerResource.Current
		}
		return spec.ContainerResource.Name.String() + ": " + usage(spec.ContainerResource.Target, now)
	}
	return "<unknown type>"
}

// amount shows a metric that is a number, or an average over the pods.
func amount(goal autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	if goal.AverageValue != nil {
		return average(goal, now) + " (avg)"
	}
	var seen *resource.Quantity
	if now != nil {
		seen = now.Value
	}
	return quantity(now != nil, seen) + "/" + goal.Value.String()
}

func average(goal autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	current := "<unknown>"
	if now != nil && now.AverageValue != nil {
		current = now.AverageValue.String()
	}
	return current + "/" + goal.AverageValue.String()
}

// usage shows how much of a resource is used, as an amount or as a share of what was requested.
func usage(goal autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	if goal.AverageValue != nil {
		return average(goal, now)
	}
	current, wanted := "<unknown>", "<auto>"
	if now != nil && now.AverageUtilization != nil {
		current = fmt.Sprintf("%d%%", *now.AverageUtilization)
	}
	if goal.AverageUtilization != nil {
		wanted = fmt.Sprintf("%d%%", *goal.AverageUtilization)
	}
	return current + "/" + wanted
}

// quantity shows a number that was seen; a status without one shows what a nil quantity prints.
func quantity(seen bool, q *resource.Quantity) string {
	if !seen {
		return "<unknown>"
	}
	return q.String()
}
