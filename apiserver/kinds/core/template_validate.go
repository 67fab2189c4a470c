package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

var (
	podTemplatePath = field.NewPath("template")
	rcTemplatePath  = field.NewPath("spec", "template")
)

func validatePodTemplate(_ *kinds.Request, p *corev1.PodTemplate) field.ErrorList {
	return podspec.ValidateTemplate(&p.Template, podTemplatePath, nil)
}

func validatePodTemplateUpdate(_ *kinds.Request, p, old *corev1.PodTemplate) field.ErrorList {
	return podspec.ValidateTemplate(&p.Template, podTemplatePath, &old.Template)
}

func podTemplateWarnings(_ *kinds.Request, p, old *corev1.PodTemplate) []string {
	if old != nil && old.Generation == p.Generation {
		return nil
	}
	return podspec.Warnings(&p.Template.ObjectMeta, &p.Template.Spec, podTemplatePath)
}

func validateNewReplicationController(_ *kinds.Request, rc *corev1.ReplicationController) field.ErrorList {
	return validateReplicationController(rc, nil)
}

func validateReplicationControllerUpdate(_ *kinds.Request, rc, old *corev1.ReplicationController) field.ErrorList {
	return validateReplicationController(rc, old.Spec.Template)
}

func validateReplicationController(rc *corev1.ReplicationController, old *corev1.PodTemplateSpec) field.ErrorList {
	var l check.List
	at := field.NewPath("spec")
	l.NotNegative(at.Child("minReadySeconds"), int64(rc.Spec.MinReadySeconds))
	selector := labels.Set(rc.Spec.Selector).AsSelector()
	if selector.Empty() {
		l.Add(field.Required(at.Child("selector"), ""))
	}
	if rc.Spec.Replicas == nil {
		l.Add(field.Required(at.Child("replicas"), ""))
	} else {
		l.NotNegative(at.Child("replicas"), int64(*rc.Spec.Replicas))
	}
	t := rc.Spec.Template
	if t == nil {
		l.Add(field.Required(rcTemplatePath, ""))
		return l.ErrorList
	}
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		l.Add(field.Invalid(rcTemplatePath.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	l.All(podspec.ValidateTemplate(t, rcTemplatePath, old))
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		l.Add(field.NotSupported(rcTemplatePath.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		l.Add(field.Forbidden(rcTemplatePath.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicationController is not Supported"))
	}
	return l.ErrorList
}

func validateReplicationControllerStatus(_ *kinds.Request, rc, _ *corev1.ReplicationController) field.ErrorList {
	var l check.List
	s, at := &rc.Status, field.NewPath("status")
	parts := []struct {
		name  string
		value int32
	}{{"fullyLabeledReplicas", s.FullyLabeledReplicas}, {"readyReplicas", s.ReadyReplicas}, {"availableReplicas", s.AvailableReplicas}}
	l.NotNegative(at.Child("replicas"), int64(s.Replicas))
	for _, p := range parts {
		l.NotNegative(at.Child(p.name), int64(p.value))
	}
	l.NotNegative(at.Child("observedGeneration"), s.ObservedGeneration)
	for _, p := range parts {
		if p.value > s.Replicas {
			l.Add(field.Invalid(at.Child(p.name), p.value, "cannot be greater than status.replicas"))
		}
	}
	if s.AvailableReplicas > s.ReadyReplicas {
		l.Add(field.Invalid(at.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return l.ErrorList
}

func replicationControllerWarnings(_ *kinds.Request, rc, old *corev1.ReplicationController) []string {
	t := rc.Spec.Template
	if t == nil || old != nil && old.Generation == rc.Generation {
		return nil
	}
	var out []string
	if m := validation.IsDNS1123Label(rc.Name); old == nil && len(m) > 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", m))
	}
	return append(out, podspec.Warnings(&t.ObjectMeta, &t.Spec, rcTemplatePath)...)
}
