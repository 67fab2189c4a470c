package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

// ValidatingAdmissionPolicy holds expressions that writes have to satisfy.
var ValidatingAdmissionPolicy = kinds.Define(kinds.Row[*admissionv1.ValidatingAdmissionPolicy]{
	Resource: "validatingadmissionpolicies", Categories: []string{"api-extensions"}, AnyFinalizer: true, NoUnconditionalUpdate: true,
	StatusResetsMeta: true, StatusResets: []string{"spec", "metadata"},
	Default: func(p *admissionv1.ValidatingAdmissionPolicy) {
		fill.Nil(&p.Spec.FailurePolicy, admissionv1.Fail)
		defaultMatch(p.Spec.MatchConstraints)
	},
	Begin:    beginPolicy(judge[validatingPolicy]{"ValidatingAdmissionPolicy", validateValidating, validateValidatingUpdate}, func(p validatingPolicy) *admissionv1.ParamKind { return p.Spec.ParamKind }),
	Validate: validateValidating, ValidateUpdate: validateValidatingUpdate, ValidateStatus: validateValidatingStatus,
	Warnings: func(_ *kinds.Request, o, old *admissionv1.ValidatingAdmissionPolicy) []string {
		return staticWarning(o.Name, old == nil)
	},
	Columns: []kinds.Column[*admissionv1.ValidatingAdmissionPolicy]{
		kinds.NameColumn[*admissionv1.ValidatingAdmissionPolicy](),
		{Name: "Validations", Type: "integer", Description: "Validations indicates the number of validation rules defined in this configuration",
			Cell: func(p *admissionv1.ValidatingAdmissionPolicy) any { return int64(len(p.Spec.Validations)) }},
		{Name: "ParamKind", Description: paramKindDoc,
			Cell: func(p *admissionv1.ValidatingAdmissionPolicy) any { return paramKindText(p.Spec.ParamKind) }},
		kinds.AgeColumn[*admissionv1.ValidatingAdmissionPolicy](),
	},
})

// ValidatingAdmissionPolicyBinding puts a policy in force.
var ValidatingAdmissionPolicyBinding = kinds.Define(kinds.Row[*admissionv1.ValidatingAdmissionPolicyBinding]{
	Resource: "validatingadmissionpolicybindings", Categories: []string{"api-extensions"}, AnyFinalizer: true,
	Generation: kinds.GenerationAlways, NoUnconditionalUpdate: true,
	Default: func(b *admissionv1.ValidatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
	Begin: beginBinding(judge[*admissionv1.ValidatingAdmissionPolicyBinding]{"ValidatingAdmissionPolicyBinding", validateValidatingBinding, validateValidatingBindingUpdate}, "validatingadmissionpolicies",
		func(p kinds.Object) *admissionv1.ParamKind { return p.(validatingPolicy).Spec.ParamKind },
		func(b *admissionv1.ValidatingAdmissionPolicyBinding) (*admissionv1.ParamRef, string) {
			return b.Spec.ParamRef, b.Spec.PolicyName
		}),
	Validate: validateValidatingBinding, ValidateUpdate: validateValidatingBindingUpdate,
	Warnings: func(_ *kinds.Request, o, old *admissionv1.ValidatingAdmissionPolicyBinding) []string {
		return staticWarning(o.Name, old == nil)
	},
	Columns: []kinds.Column[*admissionv1.ValidatingAdmissionPolicyBinding]{
		kinds.NameColumn[*admissionv1.ValidatingAdmissionPolicyBinding](),
		{Name: "PolicyName", Description: policyNameDoc,
			Cell: func(b *admissionv1.ValidatingAdmissionPolicyBinding) any { return b.Spec.PolicyName }},
		{Name: "ParamRef", Description: paramRefDoc,
			Cell: func(b *admissionv1.ValidatingAdmissionPolicyBinding) any { return paramRefText(b.Spec.ParamRef) }},
		kinds.AgeColumn[*admissionv1.ValidatingAdmissionPolicyBinding](),
	},
})

// MutatingAdmissionPolicy holds expressions that change what is written.
var MutatingAdmissionPolicy = kinds.Define(kinds.Row[*admissionv1.MutatingAdmissionPolicy]{
	Resource: "mutatingadmissionpolicies", Categories: []string{"api-extensions"}, AnyFinalizer: true,
	Generation: kinds.GenerationAlways, NoUnconditionalUpdate: true,
	Default: func(p *admissionv1.MutatingAdmissionPolicy) {
		fill.Nil(&p.Spec.FailurePolicy, admissionv1.Fail)
		defaultMatch(p.Spec.MatchConstraints)
	},
	Begin:    beginPolicy(judge[mutatingPolicy]{"MutatingAdmissionPolicy", validateMutating, validateMutatingUpdate}, func(p mutatingPolicy) *admissionv1.ParamKind { return p.Spec.ParamKind }),
	Validate: validateMutating, ValidateUpdate: validateMutatingUpdate,
	Warnings: func(_ *kinds.Request, o, old *admissionv1.MutatingAdmissionPolicy) []string {
		return staticWarning(o.Name, old == nil)
	},
	Columns: []kinds.Column[*admissionv1.MutatingAdmissionPolicy]{
		kinds.NameColumn[*admissionv1.MutatingAdmissionPolicy](),
		{Name: "Mutations", Type: "integer", Description: "Mutation indicates the number of mutations rules defined in this configuration",
			Cell: func(p *admissionv1.MutatingAdmissionPolicy) any { return int64(len(p.Spec.Mutations)) }},
		{Name: "ParamKind", Description: paramKindDoc,
			Cell: func(p *admissionv1.MutatingAdmissionPolicy) any { return paramKindText(p.Spec.ParamKind) }},
		kinds.AgeColumn[*admissionv1.MutatingAdmissionPolicy](),
	},
})

// MutatingAdmissionPolicyBinding puts a policy in force.
var MutatingAdmissionPolicyBinding = kinds.Define(kinds.Row[*admissionv1.MutatingAdmissionPolicyBinding]{
	Resource: "mutatingadmissionpolicybindings", Categories: []string{"api-extensions"}, AnyFinalizer: true,
	Generation: kinds.GenerationAlways, NoUnconditionalUpdate: true,
	Default: func(b *admissionv1.MutatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) },
	Begin: beginBinding(judge[*admissionv1.MutatingAdmissionPolicyBinding]{"MutatingAdmissionPolicyBinding", validateMutatingBinding, validateMutatingBindingUpdate}, "mutatingadmissionpolicies",
		func(p kinds.Object) *admissionv1.ParamKind { return p.(mutatingPolicy).Spec.ParamKind },
		func(b *admissionv1.MutatingAdmissionPolicyBinding) (*admissionv1.ParamRef, string) {
			return b.Spec.ParamRef, b.Spec.PolicyName
		}),
	Validate: validateMutatingBinding, ValidateUpdate: validateMutatingBindingUpdate,
	Warnings: func(_ *kinds.Request, o, old *admissionv1.MutatingAdmissionPolicyBinding) []string {
		return staticWarning(o.Name, old == nil)
	},
	Columns: []kinds.Column[*admissionv1.MutatingAdmissionPolicyBinding]{
		kinds.NameColumn[*admissionv1.MutatingAdmissionPolicyBinding](),
		{Name: "PolicyName", Description: policyNameDoc,
			Cell: func(b *admissionv1.MutatingAdmissionPolicyBinding) any { return b.Spec.PolicyName }},
		{Name: "ParamRef", Description: paramRefDoc,
			Cell: func(b *admissionv1.MutatingAdmissionPolicyBinding) any { return paramRefText(b.Spec.ParamRef) }},
		kinds.AgeColumn[*admissionv1.MutatingAdmissionPolicyBinding](),
	},
})

const (
	paramKindDoc  = "ParamKind specifies the kind of resources used to parameterize this policy"
	policyNameDoc = "PolicyName indicates the policy definition which the policy binding binded to"
	paramRefDoc   = "ParamRef indicates the param resource which sets the configuration param"
)

func paramKindText(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

// paramRefText shows a star for the namespace of a parameter that is in each object's own.
func paramRefText(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Selector != nil:
		return r.Selector.String()
	}
	return "<unset>"
}

// defaultHook gives a webhook what its configuration leaves out. Both kinds of webhooks have these fields.
func defaultHook(failure **admissionv1.FailurePolicyType, match **admissionv1.MatchPolicyType, namespaces, objects **metav1.LabelSelector,
	timeout **int32, client *admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations) {
	fill.Nil(failure, admissionv1.Fail)
	fill.Nil(match, admissionv1.Equivalent)
	fill.Nil(namespaces, metav1.LabelSelector{})
	fill.Nil(objects, metav1.LabelSelector{})
	fill.Nil(timeout, 10)
	if client.Service != nil {
		fill.Nil(&client.Service.Port, 443)
	}
	for i := range rules {
		fill.Nil(&rules[i].Scope, admissionv1.AllScopes)
	}
}

func defaultMatch(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	fill.Nil(&m.MatchPolicy, admissionv1.Equivalent)
	fill.Nil(&m.NamespaceSelector, metav1.LabelSelector{})
	fill.Nil(&m.ObjectSelector, metav1.LabelSelector{})
	for i := range m.ResourceRules {
		fill.Nil(&m.ResourceRules[i].Scope, admissionv1.AllScopes)
	}
	for i := range m.ExcludeResourceRules {
		fill.Nil(&m.ExcludeResourceRules[i].Scope, admissionv1.AllScopes)
	}
}
