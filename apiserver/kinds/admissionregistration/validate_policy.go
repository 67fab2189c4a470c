package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"github.com/skiff-project/skiff/apiserver/expression"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// Upstream's limits.
const (
	mostAnnotations   = 20
	longestAnnotation = 5 << 10 // bytes of an expression
)

type validatingPolicy = *admissionv1.ValidatingAdmissionPolicy

func validateValidating(_ *kinds.Request, p validatingPolicy) field.ErrorList {
	l := check.List{ErrorList: validating(p, nil)}
	notStatic(&l, p.Name)
	return l.ErrorList
}

func validateValidatingUpdate(_ *kinds.Request, p, old validatingPolicy) field.ErrorList {
	return append(kinds.ValidateMeta(p, kinds.Cluster, kinds.Subdomain), validating(p, old)...)
}

func validating(p, old validatingPolicy) field.ErrorList {
	var l check.List
	spec, params := &p.Spec, p.Spec.ParamKind != nil
	conditions, texts, messages, values := known{}, known{}, known{}, known{}
	sameConditions := false
	if old != nil {
		sameConditions = apiequality.Semantic.DeepEqual(spec.ParamKind, old.Spec.ParamKind) && apiequality.Semantic.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
		conditionTexts(conditions, old.Spec.MatchConditions)
		for _, v := range old.Spec.Validations {
			texts.Insert(v.Expression)
			messages.Insert(v.MessageExpression)
		}
		for _, a := range old.Spec.AuditAnnotations {
			values.Insert(a.ValueExpression)
		}
	}
	failurePolicy(&l, spec.FailurePolicy)
	if params {
		paramKind(&l, spec.ParamKind, specPath.Child("paramKind"))
	}
	matchConstraints(&l, spec.MatchConstraints)
	if !sameConditions {
		matchConditions(&l, spec.MatchConditions, params, conditions, specPath.Child("matchConditions"))
	}
	compiler := expression.NewCompiler(false)
	if len(spec.Variables) > 0 {
		var err error
		if compiler, err = expression.WithVariables(false); err != nil {
			l.Add(field.InternalError(specPath, err))
			return l.ErrorList
		}
	}
	variables(&l, compiler, spec.Variables, params, texts, specPath.Child("variables"))
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		for _, name := range []string{"validations", "auditAnnotations"} {
			l.Add(field.Required(specPath.Child(name), "validations or auditAnnotations must contain at least one item"))
		}
	}
	for i := range spec.Validations {
		oneValidation(&l, compiler, &spec.Validations[i], params, texts, messages, specPath.Child("validations").Index(i))
	}
	annotations(&l, compiler, p, params, values)
	return l.ErrorList
}

var reasons = []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge}

func oneValidation(l *check.List, c *expression.Compiler, v *admissionv1.Validation, params bool, texts, messages known, at *field.Path) {
	if p := at.Child("expression"); strings.TrimSpace(v.Expression) == "" {
		l.Add(field.Required(p, "expression is not specified"))
	} else {
		compile(l, c, v.Expression, v.Expression, condition, expression.Scope{Params: params, Authorizer: true}, texts.Has(v.Expression), p)
	}
	const empty = "must be non-empty if specified"
	if p, text := at.Child("messageExpression"), v.MessageExpression; text != "" && strings.TrimSpace(text) == "" {
		l.Add(field.Invalid(p, text, empty))
	} else if text != "" {
		compile(l, c, text, text, message, expression.Scope{Params: params}, messages.Has(text), p)
	}
	if p, text := at.Child("message"), strings.TrimSpace(v.Message); v.Message != "" && text == "" {
		l.Add(field.Invalid(p, v.Message, empty))
	} else if strings.ContainsAny(text, "\n\r") {
		l.Add(field.Invalid(p, v.Message, "must not contain line breaks"))
	}
	if v.Reason != nil {
		check.OneOf(l, at.Child("reason"), *v.Reason, reasons...)
	}
}

func annotations(l *check.List, c *expression.Compiler, p validatingPolicy, params bool, old known) {
	list, at := p.Spec.AuditAnnotations, specPath.Child("auditAnnotations")
	if len(list) > mostAnnotations {
		l.Add(field.Invalid(at, list, fmt.Sprintf("must not have more than %d auditAnnotations", mostAnnotations)))
	}
	keys := map[string]bool{}
	for i := range list {
		key, value, a := at.Index(i).Child("key"), at.Index(i).Child("valueExpression"), &list[i]
		if p.Name != "" {
			l.Qualified(key, p.Name+"/"+a.Key)
		} else {
			l.Add(field.Invalid(key, a.Key, "requires metadata.name be non-empty"))
		}
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			l.Add(field.Required(value, "valueExpression is not specified"))
		case len(text) > longestAnnotation:
			l.Add(field.Required(value, fmt.Sprintf("must not exceed %d bytes in length", longestAnnotation)))
		default:
			compile(l, c, text, a.ValueExpression, annotation, expression.Scope{Params: params, Authorizer: true}, old.Has(a.ValueExpression), value)
		}
		if keys[a.Key] {
			l.Add(field.Duplicate(key, a.Key))
		}
		keys[a.Key] = true
	}
}

func validateValidatingStatus(_ *kinds.Request, p, _ validatingPolicy) field.ErrorList {
	var l check.List
	at := field.NewPath("status")
	if t := p.Status.TypeChecking; t != nil {
		for i, w := range t.ExpressionWarnings {
			at := at.Child("typeChecking", "expressionWarnings").Index(i)
			l.Require(at.Child("warning"), w.Warning)
			if ref := strings.TrimSpace(w.FieldRef); l.Require(at.Child("fieldRef"), ref) {
				if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
					l.Add(field.Invalid(at.Child("fieldRef"), ref, fmt.Sprintf("invalid JSONPath: %v", err)))
				}
			}
		}
	}
	l.All(metavalidation.ValidateConditions(p.Status.Conditions, at.Child("conditions")))
	return l.ErrorList
}

type mutatingPolicy = *admissionv1.MutatingAdmissionPolicy

func validateMutating(_ *kinds.Request, p mutatingPolicy) field.ErrorList {
	l := check.List{ErrorList: mutating(p, nil)}
	notStatic(&l, p.Name)
	return l.ErrorList
}

func validateMutatingUpdate(_ *kinds.Request, p, old mutatingPolicy) field.ErrorList {
	return append(kinds.ValidateMeta(p, kinds.Cluster, kinds.Subdomain), mutating(p, old)...)
}

func mutating(p, old mutatingPolicy) field.ErrorList {
	var l check.List
	spec, params := &p.Spec, p.Spec.ParamKind != nil
	conditions, patches := known{}, known{}
	sameConditions := false
	if old != nil {
		sameConditions = apiequality.Semantic.DeepEqual(spec.ParamKind, old.Spec.ParamKind) && apiequality.Semantic.DeepEqual(spec.MatchConditions, old.Spec.MatchConditions)
		conditionTexts(conditions, old.Spec.MatchConditions)
		for _, m := range old.Spec.Mutations {
			if m.ApplyConfiguration != nil {
				patches.Insert(m.ApplyConfiguration.Expression)
			}
		}
	}
	failurePolicy(&l, spec.FailurePolicy)
	if params {
		paramKind(&l, spec.ParamKind, specPath.Child("paramKind"))
	}
	matchConstraints(&l, spec.MatchConstraints)
	onlyChanges(&l, spec.MatchConstraints, specPath.Child("matchConstraints"))
	if !sameConditions {
		matchConditions(&l, spec.MatchConditions, params, conditions, specPath.Child("matchConditions"))
	}
	compiler, err := expression.WithVariables(false)
	if err != nil {
		l.Add(field.InternalError(specPath, err))
		return l.ErrorList
	}
	variables(&l, compiler, spec.Variables, params, nil, specPath.Child("variables"))
	if len(spec.Mutations) == 0 {
		l.Add(field.Required(specPath.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range spec.Mutations {
		mutation(&l, compiler, &spec.Mutations[i], params, patches, specPath.Child("mutations").Index(i))
	}
	check.RequiredOneOf(&l, specPath.Child("reinvocationPolicy"), spec.ReinvocationPolicy, reinvocations...)
	return l.ErrorList
}

func mutation(l *check.List, c *expression.Compiler, m *admissionv1.Mutation, params bool, old known, at *field.Path) {
	words := expression.Scope{Params: params, Authorizer: true, Mutation: true}
	apply, patch := at.Child("applyConfiguration"), at.Child("jsonPatch")
	switch m.PatchType {
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			l.Add(field.Required(patch, "must be specified when patchType is JSONPatch"))
		} else if text := strings.TrimSpace(m.JSONPatch.Expression); l.Require(patch.Child("expression"), text) {
			compile(l, c, text, text, patched, words, old.Has(m.JSONPatch.Expression), patch.Child("expression"))
		}
		if m.ApplyConfiguration != nil {
			l.Add(field.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch"))
		}
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			l.Add(field.Required(apply, "must be specified when patchType is ApplyConfiguration"))
		} else if text := strings.TrimSpace(m.ApplyConfiguration.Expression); l.Require(apply.Child("expression"), text) {
			compile(l, c, text, text, applied, words, old.Has(m.ApplyConfiguration.Expression), apply.Child("expression"))
		}
		if m.JSONPatch != nil {
			l.Add(field.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration"))
		}
	default:
		check.RequiredOneOf(l, at.Child("patchType"), m.PatchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
	}
}

func validateValidatingBinding(_ *kinds.Request, b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	l := check.List{ErrorList: validatingBinding(b)}
	notStatic(&l, b.Name)
	return l.ErrorList
}

func validateValidatingBindingUpdate(_ *kinds.Request, b, _ *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return append(kinds.ValidateMeta(b, kinds.Cluster, kinds.Subdomain), validatingBinding(b)...)
}

func validatingBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	var l check.List
	policyName(&l, b.Spec.PolicyName)
	paramRef(&l, b.Spec.ParamRef, specPath.Child("paramRef"))
	matchResources(&l, b.Spec.MatchResources, specPath.Child("matchResources"))
	at, actions := specPath.Child("validationActions"), b.Spec.ValidationActions
	for i, a := range actions {
		check.OneOf(&l, at.Index(i), a, admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)
		if slices.Contains(actions[:i], a) {
			l.Add(field.Duplicate(at.Index(i), a))
		}
	}
	if s := sets.New(actions...); s.HasAll(admissionv1.Deny, admissionv1.Warn) {
		l.Add(field.Invalid(at, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	if len(actions) == 0 {
		l.Add(field.Required(at, ""))
	}
	return l.ErrorList
}

func validateMutatingBinding(_ *kinds.Request, b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	l := check.List{ErrorList: mutatingBinding(b)}
	notStatic(&l, b.Name)
	return l.ErrorList
}

func validateMutatingBindingUpdate(_ *kinds.Request, b, _ *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	return append(kinds.ValidateMeta(b, kinds.Cluster, kinds.Subdomain), mutatingBinding(b)...)
}

func mutatingBinding(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	var l check.List
	policyName(&l, b.Spec.PolicyName)
	paramRef(&l, b.Spec.ParamRef, specPath.Child("paramRef"))
	matchResources(&l, b.Spec.MatchResources, specPath.Child("matchResources"))
	onlyChanges(&l, b.Spec.MatchResources, specPath.Child("matchResources"))
	return l.ErrorList
}
