package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var specPath = field.NewPath("spec")

var (
	failurePolicies = []admissionv1.FailurePolicyType{admissionv1.Fail, admissionv1.Ignore}
	matchPolicies   = []admissionv1.MatchPolicyType{admissionv1.Equivalent, admissionv1.Exact}
	scopes          = []admissionv1.ScopeType{admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope}
	operations      = []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update}
	// changes are the operations that a mutation can be about: what is deleted is not changed.
	changes       = []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update}
	reinvocations = []admissionv1.ReinvocationPolicyType{admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy}
)

// alone complains about "*" beside others.
func alone[T ~string](l *check.List, at *field.Path, list []T, others string) {
	if len(list) > 1 && slices.Contains(list, "*") {
		l.Add(field.Invalid(at, list, "if '*' is present, must not specify other "+others))
	}
}

func ruleWithOperations(l *check.List, r *admissionv1.RuleWithOperations, at *field.Path) {
	ops := at.Child("operations")
	if len(r.Operations) == 0 {
		l.Add(field.Required(ops, ""))
	}
	alone(l, ops, r.Operations, "operations")
	for i, op := range r.Operations {
		check.OneOf(l, ops.Index(i), op, operations...)
	}
	list := func(values []string, name, others string) {
		if len(values) == 0 {
			l.Add(field.Required(at.Child(name), ""))
		}
		alone(l, at.Child(name), values, others)
	}
	list(r.APIGroups, "apiGroups", "API groups")
	list(r.APIVersions, "apiVersions", "API versions")
	for i, v := range r.APIVersions {
		l.Require(at.Child("apiVersions").Index(i), v)
	}
	resources(l, r.Resources, at.Child("resources"))
	if r.Scope != nil {
		check.OneOf(l, at.Child("scope"), *r.Scope, scopes...)
	}
}

// resources complains about entries that say again what another says already.
func resources(l *check.List, list []string, at *field.Path) {
	if len(list) == 0 {
		l.Add(field.Required(at, ""))
	}
	allOf, ofAll := map[string]bool{}, map[string]bool{} // NAME/* and */SUB
	// Upstream looks at the last entry without a subresource only.
	plain := false
	for i, text := range list {
		if !l.Require(at.Index(i), text) {
			continue
		}
		name, sub, has := strings.Cut(text, "/")
		if !has {
			plain = text != "*"
			continue
		}
		if allOf[name] {
			l.Add(field.Invalid(at.Index(i), text, fmt.Sprintf("if '%s/*' is present, must not specify %s", name, text)))
		}
		if ofAll[sub] {
			l.Add(field.Invalid(at.Index(i), text, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, text)))
		}
		allOf[name] = allOf[name] || sub == "*"
		ofAll[sub] = ofAll[sub] || name == "*"
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		l.Add(field.Invalid(at, list, "if '*/*' is present, must not specify other resources"))
	}
	if plain && slices.Contains(list, "*") {
		l.Add(field.Invalid(at, list, "if '*' is present, must not specify other resources without subresources"))
	}
}

func matchResources(l *check.List, m *admissionv1.MatchResources, at *field.Path) {
	if m == nil {
		return
	}
	if p := at.Child("matchPolicy"); m.MatchPolicy == nil {
		l.Add(field.Required(p, ""))
	} else {
		check.OneOf(l, p, *m.MatchPolicy, matchPolicies...)
	}
	if p := at.Child("namespaceSelector"); m.NamespaceSelector == nil {
		l.Add(field.Required(p, ""))
	} else {
		l.Selector(p, m.NamespaceSelector)
	}
	if p := at.Child("objectSelector"); m.ObjectSelector == nil {
		l.Add(field.Required(p, ""))
	} else {
		l.Selector(p, m.ObjectSelector)
	}
	namedRules(l, m.ResourceRules, at.Child("resourceRules"))
	namedRules(l, m.ExcludeResourceRules, at.Child("excludeResourceRules"))
}

func namedRules(l *check.List, rules []admissionv1.NamedRuleWithOperations, at *field.Path) {
	for i := range rules {
		names := at.Index(i).Child("resourceNames")
		for j, name := range rules[i].ResourceNames {
			l.Rule(names.Index(j), name, content.IsPathSegmentName)
			if slices.Contains(rules[i].ResourceNames[:j], name) {
				l.Add(field.Duplicate(names.Index(j), name))
			}
		}
		ruleWithOperations(l, &rules[i].RuleWithOperations, at.Index(i))
	}
}

// onlyChanges complains about operations that no mutation can be about.
func onlyChanges(l *check.List, m *admissionv1.MatchResources, at *field.Path) {
	if m == nil {
		return
	}
	for _, r := range m.ResourceRules {
		for _, op := range r.Operations {
			check.OneOf(l, at.Child("resourceRules", "operations"), op, changes...)
		}
	}
}

func matchConstraints(l *check.List, m *admissionv1.MatchResources) {
	at := specPath.Child("matchConstraints")
	if m == nil {
		l.Add(field.Required(at, ""))
		return
	}
	matchResources(l, m, at)
	if len(m.ResourceRules) == 0 {
		l.Add(field.Required(at.Child("resourceRules"), ""))
	}
}

func failurePolicy(l *check.List, p *admissionv1.FailurePolicyType) {
	if at := specPath.Child("failurePolicy"); p == nil {
		l.Add(field.Required(at, ""))
	} else {
		check.OneOf(l, at, *p, failurePolicies...)
	}
}

func paramKind(l *check.List, k *admissionv1.ParamKind, at *field.Path) {
	version := at.Child("apiVersion")
	joined := func(at *field.Path, value, before string, messages []string) {
		if len(messages) > 0 {
			l.Add(field.Invalid(at, value, before+strings.Join(messages, ",")))
		}
	}
	switch group, v, slash := strings.Cut(k.APIVersion, "/"); {
	case k.APIVersion == "":
		l.Add(field.Required(version, ""))
	case strings.Contains(v, "/"):
		l.Add(field.Invalid(version, k.APIVersion, "unexpected GroupVersion string: "+k.APIVersion))
	default:
		if !slash {
			group, v = "", group
		}
		if group != "" {
			joined(version, group, "", validation.IsDNS1123Subdomain(group))
		}
		if v == "" {
			l.Add(field.Invalid(version, k.APIVersion, "version must be specified"))
		} else {
			joined(version, v, "", validation.IsDNS1035Label(v))
		}
	}
	if kind := at.Child("kind"); l.Require(kind, k.Kind) {
		joined(kind, k.Kind, "may have mixed case, but should otherwise match: ", validation.IsDNS1035Label(strings.ToLower(k.Kind)))
	}
}

func paramRef(l *check.List, r *admissionv1.ParamRef, at *field.Path) {
	if r == nil {
		return
	}
	const both = "name and selector are mutually exclusive"
	if name := at.Child("name"); r.Name != "" {
		l.Rule(name, r.Name, content.IsPathSegmentName)
		if r.Selector != nil {
			l.Add(field.Forbidden(name, both))
		}
	}
	if selector := at.Child("selector"); r.Selector != nil {
		l.Selector(selector, r.Selector)
		if r.Name != "" {
			l.Add(field.Forbidden(selector, both))
		}
	} else if r.Name == "" {
		l.Add(field.Required(at, "one of name or selector must be specified"))
	}
	action := admissionv1.ParameterNotFoundActionType("")
	if r.ParameterNotFoundAction != nil {
		action = *r.ParameterNotFoundAction
	}
	check.RequiredOneOf(l, at.Child("parameterNotFoundAction"), action, admissionv1.DenyAction, admissionv1.AllowAction)
}

func policyName(l *check.List, name string) {
	if at := specPath.Child("policyName"); l.Require(at, name) {
		l.Name(at, name, apivalidation.NameIsDNSSubdomain)
	}
}

// staticSuffix ends the names of what a server reads from files.
const staticSuffix = ".static.k8s.io"

const reserved = `names ending with "` + staticSuffix + `" are reserved for static manifest-based configurations and cannot be managed via the API`

// notStatic refuses new objects with names that are kept for files.
func notStatic(l *check.List, name string) {
	if strings.HasSuffix(name, staticSuffix) {
		l.Add(field.Invalid(field.NewPath("metadata", "name"), name, reserved))
	}
}

// staticWarning is for objects that had such a name before it was kept.
func staticWarning(name string, isNew bool) []string {
	if isNew || !strings.HasSuffix(name, staticSuffix) {
		return nil
	}
	return []string{"metadata.name: " + reserved}
}
