package autoscaling

import (
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

var specPath, statusPath = field.NewPath("spec"), field.NewPath("status")

// refRule says which API versions a reference may have.
type refRule struct{ anyVersion, noGroup bool }

// leniency is what an update may keep although a new object may not have it.
type leniency struct{ target, object refRule }

func validateAutoscaler(_ *kinds.Request, h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return autoscalerSpec(h, nil)
}

func validateAutoscalerUpdate(_ *kinds.Request, h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return autoscalerSpec(h, old)
}

func autoscalerSpec(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var l check.List
	spec, lenient := &h.Spec, leniencyOf(h, old)
	if n := spec.MinReplicas; n != nil && *n < 0 {
		l.Add(field.Invalid(specPath.Child("minReplicas"), *n, "must be greater than or equal to 0"))
	}
	most := specPath.Child("maxReplicas")
	switch {
	case spec.MaxReplicas == 0:
		l.Add(field.Required(most, ""))
	case spec.MaxReplicas < 0:
		l.Add(field.Invalid(most, spec.MaxReplicas, "must be greater than or equal to 1"))
	}
	if n := spec.MinReplicas; n != nil && spec.MaxReplicas < *n {
		l.Add(field.Invalid(most, spec.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	reference(&l, spec.ScaleTargetRef, lenient.target, specPath.Child("scaleTargetRef"))
	metrics(&l, spec, lenient.object, specPath.Child("metrics"))
	if b := spec.Behavior; b != nil {
		rules(&l, b.ScaleUp, specPath.Child("behavior", "scaleUp"))
		rules(&l, b.ScaleDown, specPath.Child("behavior", "scaleDown"))
	}
	return l.ErrorList
}

func leniencyOf(h, old *autoscalingv2.HorizontalPodAutoscaler) leniency {
	out := leniency{object: refRule{noGroup: true}}
	ref := h.Spec.ScaleTargetRef
	if old == nil {
		out.target.noGroup = ref.Kind == "ReplicationController"
		return out
	}
	if was := old.Spec.ScaleTargetRef; was.APIVersion == ref.APIVersion && was.Kind == ref.Kind {
		out.target.anyVersion = true
	} else {
		out.target.noGroup = ref.Kind == "ReplicationController"
	}
	for _, m := range old.Spec.Metrics {
		if m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil && apiVersion(m.Object.DescribedObject, out.object) != nil {
			out.object.anyVersion = true
		}
	}
	return out
}

func apiVersion(ref autoscalingv2.CrossVersionObjectReference, rule refRule) error {
	if rule.anyVersion {
		return nil
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return err
	}
	if gv.Group == "" && !rule.noGroup {
		return errors.New("apiVersion must specify API group")
	}
	return nil
}

func reference(l *check.List, ref autoscalingv2.CrossVersionObjectReference, rule refRule, at *field.Path) {
	if l.Require(at.Child("kind"), ref.Kind) {
		l.Messages(at.Child("kind"), ref.Kind, content.IsPathSegmentName(ref.Kind))
	}
	if l.Require(at.Child("name"), ref.Name) {
		l.Messages(at.Child("name"), ref.Name, content.IsPathSegmentName(ref.Name))
	}
	if err := apiVersion(ref, rule); err != nil {
		l.Add(field.Invalid(at.Child("apiVersion"), ref.APIVersion, err.Error()))
	}
}

func rules(l *check.List, r *autoscalingv2.HPAScalingRules, at *field.Path) {
	if r == nil {
		return
	}
	const longest = 3600
	if n := r.StabilizationWindowSeconds; n != nil {
		p := at.Child("stabilizationWindowSeconds")
		if *n < 0 {
			l.Add(field.Invalid(p, *n, "must be greater than or equal to zero"))
		}
		if *n > longest {
			l.Add(field.Invalid(p, *n, fmt.Sprintf("must be less than or equal to %d", longest)))
		}
	}
	if r.SelectPolicy != nil {
		check.OneOf(l, at.Child("selectPolicy"), *r.SelectPolicy, autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	}
	policies := at.Child("policies")
	if len(r.Policies) == 0 {
		l.Add(field.Required(policies, "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		check.OneOf(l, policies.Index(i).Child("type"), p.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		if p.Value <= 0 {
			l.Add(field.Invalid(policies.Index(i).Child("value"), p.Value, "must be greater than zero"))
		}
		period := policies.Index(i).Child("periodSeconds")
		if p.PeriodSeconds <= 0 {
			l.Add(field.Invalid(period, p.PeriodSeconds, "must be greater than zero"))
		}
		if p.PeriodSeconds > longestPeriod {
			l.Add(field.Invalid(period, p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", longestPeriod)))
		}
	}
	if r.Tolerance != nil {
		l.QuantityNotNegative(at.Child("tolerance"), *r.Tolerance)
	}
}

const longestPeriod = 1800

func metrics(l *check.List, spec *autoscalingv2.HorizontalPodAutoscalerSpec, rule refRule, at *field.Path) {
	wakes := false
	for i := range spec.Metrics {
		m := &spec.Metrics[i]
		metric(l, m, rule, at.Index(i))
		wakes = wakes || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	// With no pods there is nothing to measure but what is outside them.
	if spec.MinReplicas != nil && *spec.MinReplicas == 0 && !wakes {
		l.Add(field.Forbidden(at, "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
}

var sourceTypes = []autoscalingv2.MetricSourceType{autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
	autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType}

func metric(l *check.List, m *autoscalingv2.MetricSpec, rule refRule, at *field.Path) {
	if m.Type == "" {
		l.Add(field.Required(at.Child("type"), "must specify a metric source type"))
	}
	check.OneOf(l, at.Child("type"), m.Type, sourceTypes...)
	// Only the first source is looked into; the others are in its place wrongly anyway.
	sources := []struct {
		name   string
		kind   autoscalingv2.MetricSourceType
		there  bool
		source func(*field.Path)
	}{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(p *field.Path) { objectSource(l, m.Object, rule, p) }},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(p *field.Path) { externalSource(l, m.External, p) }},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(p *field.Path) { podsSource(l, m.Pods, p) }},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(p *field.Path) {
			if m.Resource.Name == "" {
				l.Add(field.Required(p.Child("name"), "must specify a resource name"))
			}
			resourceTarget(l, m.Resource.Target, p)
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(p *field.Path) { containerSource(l, m.ContainerResource, p) }},
	}
	present := 0
	for _, s := range sources {
		if s.there {
			if present == 0 {
				s.source(at.Child(s.name))
			}
			present++
		}
	}
	expected, known := "", false
	for _, s := range sources {
		if s.kind != m.Type {
			continue
		}
		expected, known = s.name, true
		if !s.there {
			l.Add(field.Required(at.Child(s.name), "must populate information for the given metric source"))
		}
	}
	if !known {
		check.OneOf(l, at.Child("type"), m.Type, sourceTypes...)
	}
	if present == 1 {
		return
	}
	for _, s := range sources {
		if s.there && s.name != expected {
			l.Add(field.Forbidden(at.Child(s.name), "must populate the given metric source only"))
		}
	}
}

func objectSource(l *check.List, s *autoscalingv2.ObjectMetricSource, rule refRule, at *field.Path) {
	reference(l, s.DescribedObject, rule, at.Child("describedObject"))
	identifier(l, s.Metric, at.Child("metric"))
	goal(l, s.Target, at.Child("target"))
	if s.Target.Value == nil && s.Target.AverageValue == nil {
		l.Add(field.Required(at.Child("target", "averageValue"), "must set either a target value or averageValue"))
	}
}

func externalSource(l *check.List, s *autoscalingv2.ExternalMetricSource, at *field.Path) {
	identifier(l, s.Metric, at.Child("metric"))
	goal(l, s.Target, at.Child("target"))
	if s.Target.Value == nil && s.Target.AverageValue == nil {
		l.Add(field.Required(at.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target"))
	}
	if s.Target.Value != nil && s.Target.AverageValue != nil {
		l.Add(field.Forbidden(at.Child("target", "value"), "may not set both a target value for metric and a per-pod target"))
	}
}

func podsSource(l *check.List, s *autoscalingv2.PodsMetricSource, at *field.Path) {
	identifier(l, s.Metric, at.Child("metric"))
	goal(l, s.Target, at.Child("target"))
	if s.Target.AverageValue == nil {
		l.Add(field.Required(at.Child("target", "averageValue"), "must specify a positive target averageValue"))
	}
}

func containerSource(l *check.List, s *autoscalingv2.ContainerResourceMetricSource, at *field.Path) {
	if s.Name == "" {
		l.Add(field.Required(at.Child("name"), "must specify a resource name"))
	} else {
		podspec.ContainerResourceName(l, s.Name, at.Child("name"))
	}
	if s.Container == "" {
		l.Add(field.Required(at.Child("container"), "must specify a container"))
	} else {
		l.Label(at.Child("container"), s.Container)
	}
	resourceTarget(l, s.Target, at)
}

func resourceTarget(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	goal(l, t, at.Child("target"))
	if t.AverageUtilization == nil && t.AverageValue == nil {
		l.Add(field.Required(at.Child("target", "averageUtilization"), "must set either a target raw value or a target utilization"))
	}
	if t.AverageUtilization != nil && t.AverageValue != nil {
		l.Add(field.Forbidden(at.Child("target", "averageValue"), "may not set both a target raw value and a target utilization"))
	}
}

func goal(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	if t.Type == "" {
		l.Add(field.Required(at.Child("type"), "must specify a metric target type"))
	}
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		l.Add(field.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	if t.Value != nil && t.Value.Sign() != 1 {
		l.Add(field.Invalid(at.Child("value"), t.Value, "must be positive"))
	}
	if t.AverageValue != nil && t.AverageValue.Sign() != 1 {
		l.Add(field.Invalid(at.Child("averageValue"), t.AverageValue, "must be positive"))
	}
	if n := t.AverageUtilization; n != nil && *n < 1 {
		l.Add(field.Invalid(at.Child("averageUtilization"), *n, "must be greater than 0"))
	}
}

func identifier(l *check.List, id autoscalingv2.MetricIdentifier, at *field.Path) {
	if id.Name == "" {
		l.Add(field.Required(at.Child("name"), "must specify a metric name"))
		return
	}
	l.Messages(at.Child("name"), id.Name, content.IsPathSegmentName(id.Name))
}

func validateAutoscalerStatus(_ *kinds.Request, h, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var l check.List
	for i, c := range h.Status.Conditions {
		if c.ObservedGeneration != nil {
			l.NotNegative(statusPath.Child("conditions").Index(i).Child("observedGeneration"), *c.ObservedGeneration)
		}
	}
	l.NotNegative(statusPath.Child("currentReplicas"), int64(h.Status.CurrentReplicas))
	l.NotNegative(statusPath.Child("desiredReplicas"), int64(h.Status.DesiredReplicas))
	return l.ErrorList
}
