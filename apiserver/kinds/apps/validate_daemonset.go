package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/equal"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// templateGeneration counts changes of the template. It was a field once; older controllers read the annotation.
const templateGeneration = appsv1.DeprecatedTemplateGeneration

func generationOf(d *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(d.Annotations[templateGeneration], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func setGeneration(d *appsv1.DaemonSet, n int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[templateGeneration] = strconv.FormatInt(n, 10)
}

func prepareNewDaemonSet(_ *kinds.Request, d *appsv1.DaemonSet) {
	setGeneration(d, max(generationOf(d), 1))
	podspec.DropTemplateOff(&d.Spec.Template, nil)
}

func prepareDaemonSet(_ *kinds.Request, d, old *appsv1.DaemonSet) {
	podspec.DropTemplateOff(&d.Spec.Template, &old.Spec.Template)
	n := generationOf(old)
	if !equal.Semantic(&d.Spec.Template, &old.Spec.Template) {
		n++
	}
	setGeneration(d, n)
}

func validateNewDaemonSet(_ *kinds.Request, d *appsv1.DaemonSet) field.ErrorList {
	return validateDaemonSet(d, nil)
}

func validateDaemonSetUpdate(_ *kinds.Request, d, old *appsv1.DaemonSet) field.ErrorList {
	var l check.List
	l.Immutable(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector)
	l.All(validateDaemonSet(d, &old.Spec.Template))
	return l.ErrorList
}

func validateDaemonSet(d *appsv1.DaemonSet, old *corev1.PodTemplateSpec) field.ErrorList {
	var l check.List
	spec := &d.Spec
	at := specPath.Child("selector")
	l.Selector(at, spec.Selector)
	if selector, err := metav1.LabelSelectorAsSelector(spec.Selector); err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		l.Add(field.Invalid(templatePath.Child("metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`"))
	}
	if s := spec.Selector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		l.Add(field.Invalid(at, s, "empty selector is invalid for daemonset"))
	}
	l.All(podspec.ValidateTemplate(&spec.Template, templatePath, old))
	if p := spec.Template.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		l.Add(field.NotSupported(templatePath.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if spec.Template.Spec.ActiveDeadlineSeconds != nil {
		l.Add(field.Forbidden(templatePath.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in DaemonSet is not Supported"))
	}
	l.NotNegative(specPath.Child("minReadySeconds"), int64(spec.MinReadySeconds))
	l.NotNegative(specPath.Child("templateGeneration"), generationOf(d))
	daemonStrategy(&l, &spec.UpdateStrategy)
	if n := spec.RevisionHistoryLimit; n != nil {
		l.NotNegative(specPath.Child("revisionHistoryLimit"), int64(*n))
	}
	return l.ErrorList
}

func daemonStrategy(l *check.List, s *appsv1.DaemonSetUpdateStrategy) {
	at := specPath.Child("updateStrategy")
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			l.Add(field.Required(rolling, ""))
			return
		}
		down, up := s.RollingUpdate.MaxUnavailable, s.RollingUpdate.MaxSurge
		countOrPercent(l, down, rolling.Child("maxUnavailable"))
		countOrPercent(l, up, rolling.Child("maxSurge"))
		notMoreThanAll(l, down, rolling.Child("maxUnavailable"))
		notMoreThanAll(l, up, rolling.Child("maxSurge"))
		switch {
		case amount(down) != 0 && amount(up) != 0:
			l.Add(field.Invalid(rolling.Child("maxSurge"), *up, "may not be set when maxUnavailable is non-zero"))
		case amount(down) == 0 && amount(up) == 0:
			l.Add(field.Required(rolling.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
		}
	default:
		l.Add(field.NotSupported(at, s, []appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType}))
	}
}

func validateDaemonSetStatus(_ *kinds.Request, d, old *appsv1.DaemonSet) field.ErrorList {
	var l check.List
	s := &d.Status
	statusCounts(&l, 0, statusCount{"currentNumberScheduled", s.CurrentNumberScheduled, false}, statusCount{"numberMisscheduled", s.NumberMisscheduled, false},
		statusCount{"desiredNumberScheduled", s.DesiredNumberScheduled, false}, statusCount{"numberReady", s.NumberReady, false},
		statusCount{"updatedNumberScheduled", s.UpdatedNumberScheduled, false}, statusCount{"numberAvailable", s.NumberAvailable, false},
		statusCount{"numberUnavailable", s.NumberUnavailable, false})
	l.NotNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
	collisions(&l, s.CollisionCount, old.Status.CollisionCount)
	return l.ErrorList
}
