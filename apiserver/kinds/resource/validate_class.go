package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// className is a newer rule than that of other names: it does not look at the beginning of generated names.
func className(name string, prefix bool) []string {
	if prefix {
		return nil
	}
	return content.IsDNS1123Subdomain(name)
}

func validateClass(_ *kinds.Request, c *resourcev1.DeviceClass) field.ErrorList { return class(c, nil) }

func validateClassUpdate(_ *kinds.Request, c, old *resourcev1.DeviceClass) field.ErrorList {
	return append(kinds.ValidateMeta(c, kinds.Cluster, className), class(c, &old.Spec)...)
}

func class(c *resourcev1.DeviceClass, old *resourcev1.DeviceClassSpec) field.ErrorList {
	var l check.List
	spec := &c.Spec
	selectors(&l, spec.Selectors, specPath.Child("selectors"), old != nil && apiequality.Semantic.DeepEqual(spec.Selectors, old.Selectors))
	if at := specPath.Child("config"); few(&l, at, len(spec.Config), mostConfigs) {
		stored := old != nil && apiequality.Semantic.DeepEqual(spec.Config, old.Config)
		for i := range spec.Config {
			configuration(&l, &spec.Config[i].DeviceConfiguration, at.Index(i), stored)
		}
	}
	if name := spec.ExtendedResourceName; name != nil {
		by(&l, specPath.Child("extendedResourceName"), *name, validate.ExtendedResourceName[string])
	}
	return l.ErrorList
}

func validateTaintRule(_ *kinds.Request, r *resourcev1.DeviceTaintRule) field.ErrorList {
	return taintRule(r, nil)
}

func validateTaintRuleUpdate(_ *kinds.Request, r, old *resourcev1.DeviceTaintRule) field.ErrorList {
	return taintRule(r, &old.Spec.Taint)
}

func taintRule(r *resourcev1.DeviceTaintRule, old *resourcev1.DeviceTaint) field.ErrorList {
	var l check.List
	if s, at := r.Spec.DeviceSelector, specPath.Child("deviceSelector"); s != nil {
		if s.Driver != nil {
			podspec.CSIDriverName(&l, *s.Driver, at.Child("driver"))
		}
		if s.Pool != nil {
			poolName(&l, at.Child("pool"), *s.Pool)
		}
		if s.Device != nil {
			l.Label(at.Child("device"), *s.Device)
		}
	}
	taint(&l, &r.Spec.Taint, old, specPath.Child("taint"))
	return l.ErrorList
}

func validateTaintRuleStatus(_ *kinds.Request, r, _ *resourcev1.DeviceTaintRule) field.ErrorList {
	var l check.List
	at := statusPath.Child("conditions")
	l.All(metavalidation.ValidateConditions(r.Status.Conditions, at))
	few(&l, at, len(r.Status.Conditions), mostConditions)
	return l.ErrorList
}
