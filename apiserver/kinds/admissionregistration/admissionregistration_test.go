package admissionregistration

import (
	"testing"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestWebhooks(t *testing.T) {
	hook := func(more string) string {
		return `webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: "https://example.com/"}` + more + `}]`
	}
	kindtest.Run(t, ValidatingWebhookConfiguration, "c", []kindtest.Case{
		{Name: "a hook", Object: hook(``)},
		{Name: "a name without a domain", Object: `webhooks: [{name: a, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: "https://example.com/"}}]`, Want: []string{"webhooks[0].name"}},
		{Name: "no way to call it", Object: `webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {}}]`, Want: []string{"exactly one of url or service is required"}},
		{Name: "a path of a service that is none", Object: `webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {service: {namespace: n, name: s, path: a}}}]`,
			Want: []string{"must start with a '/'", "segment[0] may not be empty"}},
		{Name: "all resources and one", Object: hook(`, rules: [{operations: ["*"], apiGroups: ["*"], apiVersions: [v1], resources: ["*", pods]}]`),
			Want: []string{"if '*' is present, must not specify other resources without subresources"}},
		{Name: "a condition that does not compile", Object: hook(`, matchConditions: [{name: m, expression: "object."}]`), Want: []string{"compilation failed"}},
		{Name: "a condition about parameters that a hook has none of", Object: hook(`, matchConditions: [{name: m, expression: "params.x == 1"}]`), Want: []string{"undeclared reference to 'params'"}},
		{Name: "a condition of old may stay", Object: hook(`, matchConditions: [{name: m, expression: "object."}]`), Old: hook(`, matchConditions: [{name: m, expression: "object."}]`)},
		{Name: "side effects", Object: `webhooks: [{name: a.example.com, sideEffects: Some, admissionReviewVersions: [v1], clientConfig: {url: "https://example.com/"}}]`, Want: []string{`sideEffects: Unsupported value: "Some"`}},
	})
}

const matched = `matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]}`

func TestValidatingPolicies(t *testing.T) {
	policy := func(more string) string { return `spec: {` + matched + `, ` + more + `}` }
	kindtest.Run(t, ValidatingAdmissionPolicy, "p", []kindtest.Case{
		{Name: "a validation", Object: policy(`validations: [{expression: "object.metadata.name == 'a'"}]`)},
		{Name: "nothing to say", Object: policy(`validations: []`), Want: []string{"spec.validations: Required value", "spec.auditAnnotations: Required value"}},
		{Name: "a variable that uses the one before", Object: policy(`variables: [{name: a, expression: "1"}, {name: b, expression: "variables.a + 1"}], validations: [{expression: "variables.b > 1"}]`)},
		{Name: "a variable that uses the one after", Object: policy(`variables: [{name: a, expression: "variables.b"}, {name: b, expression: "1"}], validations: [{expression: "true"}]`), Want: []string{"undefined field 'b'"}},
		{Name: "a validation that is a number", Object: policy(`validations: [{expression: "1"}]`), Want: []string{"must evaluate to bool but got int"}},
		{Name: "a message that asks the authorizer", Object: policy(`validations: [{expression: "true", messageExpression: "string(authorizer)"}]`), Want: []string{"undeclared reference to 'authorizer'"}},
		{Name: "a word of the language as a name", Object: policy(`variables: [{name: if, expression: "1"}], validations: [{expression: "true"}]`), Want: []string{"must be a valid CEL identifier"}},
	})
	kindtest.Run(t, ValidatingAdmissionPolicy, "p.static.k8s.io", []kindtest.Case{
		{Name: "a name that is kept for files", Object: policy(`validations: [{expression: "true"}]`), Want: []string{"are reserved for static manifest-based configurations"}},
	})
	kindtest.Run(t, ValidatingAdmissionPolicyBinding, "b", []kindtest.Case{
		{Name: "deny and warn", Object: `spec: {policyName: p, validationActions: [Deny, Warn]}`, Want: []string{"must not contain both Deny and Warn"}},
		{Name: "parameters by name and by label", Object: `spec: {policyName: p, validationActions: [Deny], paramRef: {name: x, selector: {}, parameterNotFoundAction: Deny}}`,
			Want: []string{"paramRef.name: Forbidden", "paramRef.selector: Forbidden"}},
	})
}

func TestMutatingPolicies(t *testing.T) {
	policy := func(more string) string {
		return `spec: {` + matched + `, reinvocationPolicy: Never, mutations: [` + more + `]}`
	}
	kindtest.Run(t, MutatingAdmissionPolicy, "p", []kindtest.Case{
		{Name: "an apply configuration", Object: policy(`{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{metadata: Object.metadata{labels: {'a': 'b'}}}"}}`)},
		{Name: "a patch", Object: policy(`{patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/a', value: 'b'}]"}}`)},
		{Name: "the one for the other", Object: policy(`{patchType: JSONPatch, jsonPatch: {expression: "Object{}"}}`), Want: []string{"must evaluate to"}},
		{Name: "what is deleted is not changed", Object: `spec: {reinvocationPolicy: Never, mutations: [{patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/a', value: 'b'}]"}}],
  matchConstraints: {resourceRules: [{operations: [DELETE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]}}`, Want: []string{`operations: Unsupported value: "DELETE"`}},
	})
}
