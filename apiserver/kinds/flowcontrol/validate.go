package flowcontrol

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// everything stands for all verbs, groups, resources, namespaces or paths.
const everything = "*"

// verbs that rules may name, sorted.
var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

var (
	specPath   = field.NewPath("spec")
	statePath  = field.NewPath("status", "conditions")
	precedence = specPath.Child("matchingPrecedence")
)

func validateSchema(_ *kinds.Request, f *flowcontrolv1.FlowSchema) field.ErrorList {
	var l check.List
	spec := &f.Spec
	if spec.MatchingPrecedence <= 0 {
		l.Add(field.Invalid(precedence, spec.MatchingPrecedence, "must be a positive value"))
	}
	if spec.MatchingPrecedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence {
		l.Add(field.Invalid(precedence, spec.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)))
	}
	if spec.MatchingPrecedence == 1 && f.Name != exempt {
		l.Add(field.Invalid(precedence, spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if m := spec.DistinguisherMethod; m != nil && m.Type != flowcontrolv1.FlowDistinguisherMethodByNamespaceType && m.Type != flowcontrolv1.FlowDistinguisherMethodByUserType {
		l.Add(field.NotSupported(specPath.Child("distinguisherMethod", "type"), m, []flowcontrolv1.FlowDistinguisherMethodType{
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType}))
	}
	if at, level := specPath.Child("priorityLevelConfiguration", "name"), spec.PriorityLevelConfiguration.Name; level == "" {
		l.Add(field.Required(at, "must reference a priority level"))
	} else {
		l.Name(at, level, apivalidation.NameIsDNSSubdomain)
	}
	for i := range spec.Rules {
		policyRule(&l, &spec.Rules[i], specPath.Child("rules").Index(i))
	}
	if fixed, ok := fixedSchemas[f.Name]; ok && !apiequality.Semantic.DeepEqual(*spec, fixed) {
		l.Add(field.Invalid(specPath, *spec, fmt.Sprintf("spec of '%s' must equal the fixed value", f.Name)))
	}
	l.All(validateSchemaStatus(nil, f, nil))
	return l.ErrorList
}

func validateSchemaStatus(_ *kinds.Request, f, _ *flowcontrolv1.FlowSchema) field.ErrorList {
	types := make([]string, len(f.Status.Conditions))
	for i := range types {
		types[i] = string(f.Status.Conditions[i].Type)
	}
	return conditions(types)
}

// conditions wants every condition to have a type, and no type twice.
func conditions(types []string) field.ErrorList {
	var l check.List
	for i, t := range types {
		at := statePath.Index(i).Child("type")
		if slices.Contains(types[:i], t) {
			l.Add(field.Duplicate(at, t))
		}
		l.Require(at, t)
	}
	return l.ErrorList
}

func policyRule(l *check.List, r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) {
	if len(r.Subjects) == 0 {
		l.Add(field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		subject(l, &r.Subjects[i], at.Child("subjects").Index(i))
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		l.Add(field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i := range r.ResourceRules {
		resourceRule(l, &r.ResourceRules[i], at.Child("resourceRules").Index(i))
	}
	for i := range r.NonResourceRules {
		pathRule(l, &r.NonResourceRules[i], at.Child("nonResourceRules").Index(i))
	}
}

func subject(l *check.List, s *flowcontrolv1.Subject, at *field.Path) {
	group, user, account := at.Child("group"), at.Child("user"), at.Child("serviceAccount")
	switch s.Kind {
	case flowcontrolv1.SubjectKindServiceAccount:
		if a := s.ServiceAccount; a == nil {
			l.Add(field.Required(account, "serviceAccount is required when subject kind is 'ServiceAccount'"))
		} else {
			serviceAccount(l, a, account)
		}
	case flowcontrolv1.SubjectKindUser:
		if s.User == nil {
			l.Add(field.Required(user, "user is required when subject kind is 'User'"))
		} else {
			l.Require(user.Child("name"), s.User.Name)
		}
	case flowcontrolv1.SubjectKindGroup:
		if s.Group == nil {
			l.Add(field.Required(group, "group is required when subject kind is 'Group'"))
		} else {
			l.Require(group.Child("name"), s.Group.Name)
		}
	default:
		check.OneOf(l, at.Child("kind"), s.Kind, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
		return
	}
	if s.ServiceAccount != nil && s.Kind != flowcontrolv1.SubjectKindServiceAccount {
		l.Add(field.Forbidden(account, "serviceAccount is forbidden when subject kind is not 'ServiceAccount'"))
	}
	if s.User != nil && s.Kind != flowcontrolv1.SubjectKindUser {
		l.Add(field.Forbidden(user, "user is forbidden when subject kind is not 'User'"))
	}
	if s.Group != nil && s.Kind != flowcontrolv1.SubjectKindGroup {
		l.Add(field.Forbidden(group, "group is forbidden when subject kind is not 'Group'"))
	}
}

func serviceAccount(l *check.List, a *flowcontrolv1.ServiceAccountSubject, at *field.Path) {
	if name := at.Child("name"); l.Require(name, a.Name) && a.Name != everything {
		l.Name(name, a.Name, apivalidation.ValidateServiceAccountName)
	}
	if namespace := at.Child("namespace"); a.Namespace == "" {
		l.Add(field.Required(namespace, "must specify namespace for service account"))
	} else {
		l.Name(namespace, a.Namespace, apivalidation.ValidateNamespaceName)
	}
}

func verbList(l *check.List, list []string, at *field.Path) {
	switch {
	case len(list) == 0:
		l.Add(field.Required(at, "verbs must contain at least one value"))
	case slices.Contains(list, everything):
		if len(list) > 1 {
			l.Add(field.Invalid(at, list, "if '*' is present, must not specify other verbs"))
		}
	case slices.ContainsFunc(list, func(v string) bool { return !slices.Contains(verbs, v) }):
		l.Add(field.NotSupported(at, list, verbs))
	}
}

func resourceRule(l *check.List, r *flowcontrolv1.ResourcePolicyRule, at *field.Path) {
	verbList(l, r.Verbs, at.Child("verbs"))
	list := func(values []string, name, missing, other string) {
		if len(values) == 0 {
			l.Add(field.Required(at.Child(name), "resource rules must supply at least one "+missing))
		} else if len(values) > 1 && slices.Contains(values, everything) {
			l.Add(field.Invalid(at.Child(name), values, "if '*' is present, must not specify other "+other))
		}
	}
	list(r.APIGroups, "apiGroups", "api group", "api groups")
	list(r.Resources, "resources", "resource", "resources")
	namespaces := at.Child("namespaces")
	switch {
	case len(r.Namespaces) == 0 && !r.ClusterScope:
		l.Add(field.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace"))
	case slices.Contains(r.Namespaces, everything):
		if len(r.Namespaces) > 1 {
			l.Add(field.Invalid(namespaces, r.Namespaces, "if '*' is present, must not specify other namespaces"))
		}
	default:
		for i, n := range r.Namespaces {
			for _, m := range apivalidation.ValidateNamespaceName(n, false) {
				l.Add(field.Invalid(namespaces.Index(i), n, "each member of this list must be '*' or a DNS-1123 label; "+m))
			}
		}
	}
}

func pathRule(l *check.List, r *flowcontrolv1.NonResourcePolicyRule, at *field.Path) {
	verbList(l, r.Verbs, at.Child("verbs"))
	urls := at.Child("nonResourceURLs")
	switch {
	case len(r.NonResourceURLs) == 0:
		l.Add(field.Required(urls, "nonResourceURLs must contain at least one value"))
	case slices.Contains(r.NonResourceURLs, everything):
		if len(r.NonResourceURLs) > 1 {
			l.Add(field.Invalid(urls, r.NonResourceURLs, "if '*' is present, must not specify other non-resource URLs"))
		}
	default:
		for i, u := range r.NonResourceURLs {
			if why := badURL(u); why != "" {
				l.Add(field.Invalid(urls.Index(i), u, why))
			}
		}
	}
}

func badURL(u string) string {
	switch {
	case u == "":
		return "must not be empty"
	case u == "/":
		return ""
	case !strings.HasPrefix(u, "/"):
		return "must start with slash"
	case strings.Contains(u, " "):
		return "must not contain white-space"
	case strings.Contains(u, "//"):
		return "must not contain double slash"
	}
	if n := strings.Count(u, "*"); n > 1 || n == 1 && !strings.HasSuffix(u, "/*") {
		return "wildcard can only do suffix matching"
	}
	return ""
}
