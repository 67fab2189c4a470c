package extensions

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	structurallisttype "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

func (v *version) scope() kinds.Scope { return kinds.Scope(v.namespaced) }

// validateNew checks a new object of this version.
func (v *version) validateNew(u *unstructured.Unstructured) field.ErrorList {
	s, err := v.schemas()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	errs := kinds.ValidateMeta(u, v.scope(), nil)
	errs = append(errs, validation.ValidateCustomResource(nil, u.Object, s.whole)...)
	errs = append(errs, v.validateScaleSpec(u)...)
	errs = append(errs, v.validateScaleStatus(u)...)
	errs = append(errs, schemaobjectmeta.Validate(context.Background(), nil, u.Object, s.structural, false)...)
	errs = append(errs, structurallisttype.ValidateListSetsAndMaps(nil, s.structural, u.Object)...)
	return append(errs, v.validateRules(s.structural, errs, u, nil, nil)...)
}

// validateUpdate checks an update of the whole object. What was wrong before and has not changed is let be: a schema may
// have become stricter since.
func (v *version) validateUpdate(u, old *unstructured.Unstructured) field.ErrorList {
	s, err := v.schemas()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	same := common.NewCorrelatedObject(u.Object, old.Object, &model.Structural{Structural: s.structural})
	errs := kinds.ValidateMetaUpdate(u, old, v.scope())
	errs = append(errs, validation.ValidateCustomResourceUpdate(nil, u.Object, old.Object, s.whole, validation.WithRatcheting(same))...)
	errs = append(errs, v.validateScaleSpec(u)...)
	errs = append(errs, v.validateScaleStatus(u)...)
	errs = append(errs, schemaobjectmeta.Validate(context.Background(), nil, u.Object, s.structural, false)...)
	errs = append(errs, validateLists(s.structural, u, old)...)
	return append(errs, v.validateRules(s.structural, errs, u, old, same)...)
}

// validateStatus checks an update of the status alone.
func (v *version) validateStatus(u, old *unstructured.Unstructured) field.ErrorList {
	s, err := v.schemas()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	same := common.NewCorrelatedObject(u.Object, old.Object, &model.Structural{Structural: s.structural})
	var options []validation.ValidationOption
	if s.structural != nil {
		options = append(options, validation.WithRatcheting(same.Key("status")))
	}
	errs := kinds.ValidateMetaUpdate(u, old, v.scope())
	if status, ok := u.Object["status"]; ok && s.status != nil {
		errs = append(errs, validation.ValidateCustomResourceUpdate(field.NewPath("status"), status, old.Object["status"], s.status, options...)...)
	}
	errs = append(errs, v.validateScaleStatus(u)...)
	errs = append(errs, validateLists(s.structural, u, old)...)
	return append(errs, v.validateRules(s.structural, errs, u, old, same)...)
}

// validateLists wants sets and maps without duplicates, unless there were some before.
func validateLists(s *structuralschema.Structural, u, old *unstructured.Unstructured) field.ErrorList {
	errs := structurallisttype.ValidateListSetsAndMaps(nil, s, u.Object)
	if len(errs) == 0 || len(structurallisttype.ValidateListSetsAndMaps(nil, s, old.Object)) > 0 {
		return nil
	}
	return errs
}

// validateRules asks the CEL rules, which may rely on the rest of the schema being obeyed. before are the errors so far.
func (v *version) validateRules(s *structuralschema.Structural, before field.ErrorList, u, old *unstructured.Unstructured, same *common.CorrelatedObject) field.ErrorList {
	rules := v.rules()
	if rules == nil {
		return nil
	}
	if slices.ContainsFunc(before, blocksRules) {
		return field.ErrorList{field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
	}
	var was any
	var options []cel.Option
	if old != nil {
		was, options = old.Object, []cel.Option{cel.WithRatcheting(same)}
	}
	errs, _ := rules.Validate(context.Background(), nil, s, u.Object, was, celconfig.RuntimeCELCostBudget, options...)
	return errs
}

func blocksRules(err *field.Error) bool {
	switch err.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}

func (v *version) validateScaleSpec(u *unstructured.Unstructured) field.ErrorList {
	scale := v.scale()
	if scale == nil {
		return nil
	}
	return validateReplicas(u, scale.SpecReplicasPath)
}

func (v *version) validateScaleStatus(u *unstructured.Unstructured) field.ErrorList {
	scale := v.scale()
	if scale == nil {
		return nil
	}
	errs := validateReplicas(u, scale.StatusReplicasPath)
	if path := scale.LabelSelectorPath; path != nil {
		if text, _, err := unstructured.NestedString(u.Object, split(*path)...); err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*path), text, err.Error()))
		}
	}
	return errs
}

func validateReplicas(u *unstructured.Unstructured, path string) field.ErrorList {
	at := field.NewPath(path)
	n, _, err := unstructured.NestedInt64(u.Object, split(path)...)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, n, err.Error())}
	case n < 0:
		return field.ErrorList{field.Invalid(at, n, "should be a non-negative integer")}
	case n > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32))}
	}
	return nil
}

// split takes a path as definitions write it (".spec.replicas") apart.
func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// warnings are about finalizers that are new and not named after a domain. old is nil for a new object.
func warnings(obj, old metav1.Object) []string {
	added := slices.Clone(obj.GetFinalizers())
	if old != nil {
		added = slices.DeleteFunc(added, func(name string) bool { return slices.Contains(old.GetFinalizers(), name) })
	}
	slices.Sort(added)
	at := field.NewPath("metadata", "finalizers").String()
	standard := []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes)}
	var out []string
	for _, name := range slices.Compact(added) {
		for _, msg := range utilvalidation.IsQualifiedName(name) {
			out = append(out, fmt.Sprintf("%s: %q: %s", at, name, msg))
		}
		switch {
		case strings.Contains(name, "/") || slices.Contains(standard, name):
		case strings.Contains(name, "."):
			out = append(out, fmt.Sprintf("%s: %q: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers", at, name))
		default:
			out = append(out, fmt.Sprintf("%s: %q: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers", at, name))
		}
	}
	return out
}

// versionsOf are all versions of a definition, served or not.
func versionsOf(crd *apiextensionsv1.CustomResourceDefinition) []*version {
	out := make([]*version, len(crd.Spec.Versions))
	for i := range crd.Spec.Versions {
		out[i] = newVersion(crd, i)
	}
	return out
}
