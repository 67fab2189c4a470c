package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

func validateNew(_ *kinds.Request, b *policyv1.PodDisruptionBudget) field.ErrorList {
	return budget(b, metavalidation.LabelSelectorValidationOptions{})
}

func validateUpdate(_ *kinds.Request, b, old *policyv1.PodDisruptionBudget) field.ErrorList {
	return budget(b, metavalidation.LabelSelectorValidationOptions{
		AllowInvalidLabelValueInSelector: len(metavalidation.ValidateLabelSelector(old.Spec.Selector, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0,
	})
}

func budget(b *policyv1.PodDisruptionBudget, o metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	var l check.List
	spec := &b.Spec
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		l.Add(field.Invalid(specPath, *spec, "minAvailable and maxUnavailable cannot be both set"))
	}
	if v := spec.MinAvailable; v != nil {
		l.CountOrPercent(specPath.Child("minAvailable"), *v)
		l.NotMoreThanAll(specPath.Child("minAvailable"), *v)
	}
	if v := spec.MaxUnavailable; v != nil {
		l.CountOrPercent(specPath.Child("maxUnavailable"), *v)
		l.NotMoreThanAll(specPath.Child("maxUnavailable"), *v)
	}
	l.All(metavalidation.ValidateLabelSelector(spec.Selector, o, specPath.Child("selector")))
	if p := spec.UnhealthyPodEvictionPolicy; p != nil {
		check.OneOf(&l, specPath.Child("unhealthyPodEvictionPolicy"), *p, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	}
	return l.ErrorList
}

func validateStatus(_ *kinds.Request, b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	var l check.List
	s := &b.Status
	l.All(metavalidation.ValidateConditions(s.Conditions, statusPath.Child("conditions")))
	l.NotNegative(statusPath.Child("disruptionsAllowed"), int64(s.DisruptionsAllowed))
	l.NotNegative(statusPath.Child("currentHealthy"), int64(s.CurrentHealthy))
	l.NotNegative(statusPath.Child("desiredHealthy"), int64(s.DesiredHealthy))
	l.NotNegative(statusPath.Child("expectedPods"), int64(s.ExpectedPods))
	return l.ErrorList
}
