package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

func validateSubject(_ *kinds.Request, r *authorizationv1.SubjectAccessReview) field.ErrorList {
	return append(subjectErrors(&r.Spec), metaErrors(&r.ObjectMeta, "")...)
}

func validateSelf(_ *kinds.Request, r *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	at := field.NewPath("spec")
	errs := attributeErrors(at, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return append(errs, metaErrors(&r.ObjectMeta, "")...)
}

func validateLocal(_ *kinds.Request, r *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := subjectErrors(&r.Spec)
	errs = append(errs, metaErrors(&r.ObjectMeta, r.Namespace)...)
	if r.Spec.ResourceAttributes != nil && r.Spec.ResourceAttributes.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Spec.ResourceAttributes.Namespace, "must match metadata.namespace"))
	}
	if r.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), r.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	return errs
}

func subjectErrors(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	at := field.NewPath("spec")
	errs := attributeErrors(at, spec.ResourceAttributes, spec.NonResourceAttributes)
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(at.Child("user"), spec.User, "at least one of user or group must be specified"))
	}
	return errs
}

func attributeErrors(at *field.Path, resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) field.ErrorList {
	var errs field.ErrorList
	if resource != nil && path != nil {
		errs = append(errs, field.Invalid(at, path, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if resource == nil && path == nil {
		errs = append(errs, field.Invalid(at, path, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if resource != nil {
		errs = append(errs, selectorErrors(at.Child("resourceAttributes"), resource)...)
	}
	return errs
}

// metaErrors: a review has no identity, so its metadata must be empty but for the managed fields.
func metaErrors(meta *metav1.ObjectMeta, namespace string) field.ErrorList {
	rest := *meta
	rest.Namespace = ""
	if namespace == "" {
		rest.Namespace = meta.Namespace
	}
	rest.ManagedFields = nil
	if !apiequality.Semantic.DeepEqual(rest, metav1.ObjectMeta{}) {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), rest, "must be empty")}
	}
	return nil
}

func selectorErrors(at *field.Path, r *authorizationv1.ResourceAttributes) field.ErrorList {
	var errs field.ErrorList
	if s := r.FieldSelector; s != nil {
		errs = append(errs, oneForm(at.Child("fieldSelector"), s.RawSelector, len(s.Requirements))...)
		for i, req := range s.Requirements {
			p := at.Child("fieldSelector").Child("requirements").Index(i)
			errs = append(errs, requirementErrors(p, req.Key, string(req.Operator), len(req.Values))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		errs = append(errs, oneForm(at.Child("labelSelector"), s.RawSelector, len(s.Requirements))...)
		for i, req := range s.Requirements {
			p := at.Child("labelSelector").Child("requirements").Index(i)
			errs = append(errs, requirementErrors(p, req.Key, string(req.Operator), len(req.Values))...)
		}
	}
	return errs
}

func oneForm(at *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), "when "+at.String()+" is specified, requirements or rawSelector is required")}
	}
	return nil
}

func requirementErrors(at *field.Path, key, operator string, values int) field.ErrorList {
	var errs field.ErrorList
	if key == "" {
		errs = append(errs, field.Required(at.Child("key"), "must be specified"))
	}
	switch operator {
	case "In", "NotIn":
		if values == 0 {
			errs = append(errs, field.Required(at.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case "Exists", "DoesNotExist":
		if values > 0 {
			errs = append(errs, field.Forbidden(at.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	}
	return errs
}
