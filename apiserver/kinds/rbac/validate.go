package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var (
	rulesPath    = field.NewPath("rules")
	roleRefPath  = field.NewPath("roleRef")
	subjectsPath = field.NewPath("subjects")
	selectorPath = field.NewPath("aggregationRule", "clusterRoleSelectors")
)

func validateRole(_ *kinds.Request, r *rbacv1.Role) field.ErrorList {
	var l check.List
	for i := range r.Rules {
		policyRule(&l, &r.Rules[i], kinds.Namespaced, rulesPath.Index(i))
	}
	return l.ErrorList
}

func validateNewClusterRole(_ *kinds.Request, r *rbacv1.ClusterRole) field.ErrorList {
	return clusterRole(r, metavalidation.LabelSelectorValidationOptions{})
}

// validateClusterRoleUpdate lets a selector keep a label value that an older server took.
func validateClusterRoleUpdate(_ *kinds.Request, r, old *rbacv1.ClusterRole) field.ErrorList {
	tolerate := old.AggregationRule != nil && invalidLabelValue(old.AggregationRule.ClusterRoleSelectors)
	return append(kinds.ValidateMeta(r, kinds.Cluster, kinds.PathSegment),
		clusterRole(r, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: tolerate})...)
}

func invalidLabelValue(selectors []metav1.LabelSelector) bool {
	for i := range selectors {
		if len(metavalidation.ValidateLabelSelector(&selectors[i], metavalidation.LabelSelectorValidationOptions{}, nil)) > 0 &&
			len(metavalidation.ValidateLabelSelector(&selectors[i], metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: true}, nil)) == 0 {
			return true
		}
	}
	return false
}

func clusterRole(r *rbacv1.ClusterRole, o metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	var l check.List
	for i := range r.Rules {
		policyRule(&l, &r.Rules[i], kinds.Cluster, rulesPath.Index(i))
	}
	if r.AggregationRule == nil {
		return l.ErrorList
	}
	selectors := r.AggregationRule.ClusterRoleSelectors
	if len(selectors) == 0 {
		l.Add(field.Required(selectorPath, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
	}
	for i := range selectors {
		l.All(metavalidation.ValidateLabelSelector(&selectors[i], o, selectorPath.Index(i)))
		if _, err := metav1.LabelSelectorAsSelector(&selectors[i]); err != nil {
			l.Add(field.Invalid(selectorPath.Index(i), nil, "invalid label selector."))
		}
	}
	return l.ErrorList
}

// policyRule: a rule is about resources or about paths, and paths belong to no namespace.
func policyRule(l *check.List, r *rbacv1.PolicyRule, scope kinds.Scope, at *field.Path) {
	if len(r.Verbs) == 0 {
		l.Add(field.Required(at.Child("verbs"), ""))
	}
	if len(r.NonResourceURLs) > 0 {
		paths := at.Child("nonResourceURLs")
		if scope == kinds.Namespaced {
			l.Add(field.Invalid(paths, r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
		}
		if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
			l.Add(field.Invalid(paths, r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
		}
		return
	}
	if len(r.APIGroups) == 0 {
		l.Add(field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
	}
	if len(r.Resources) == 0 {
		l.Add(field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
	}
}

func validateRoleBinding(_ *kinds.Request, b *rbacv1.RoleBinding) field.ErrorList {
	return binding(b.RoleRef, b.Subjects, kinds.Namespaced, "Role", "ClusterRole")
}

func validateRoleBindingUpdate(_ *kinds.Request, b, old *rbacv1.RoleBinding) field.ErrorList {
	return apivalidation.ValidateImmutableField(b.RoleRef, old.RoleRef, roleRefPath)
}

func validateClusterRoleBinding(_ *kinds.Request, b *rbacv1.ClusterRoleBinding) field.ErrorList {
	return binding(b.RoleRef, b.Subjects, kinds.Cluster, "ClusterRole")
}

func validateClusterRoleBindingUpdate(_ *kinds.Request, b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
	return apivalidation.ValidateImmutableField(b.RoleRef, old.RoleRef, roleRefPath)
}

func binding(role rbacv1.RoleRef, subjects []rbacv1.Subject, scope kinds.Scope, roleKinds ...string) field.ErrorList {
	var l check.List
	check.OneOf(&l, roleRefPath.Child("apiGroup"), role.APIGroup, rbacv1.GroupName)
	check.OneOf(&l, roleRefPath.Child("kind"), role.Kind, roleKinds...)
	if l.Require(roleRefPath.Child("name"), role.Name) {
		l.Name(roleRefPath.Child("name"), role.Name, kinds.PathSegment)
	}
	for i := range subjects {
		subject(&l, &subjects[i], scope, subjectsPath.Index(i))
	}
	return l.ErrorList
}

func subject(l *check.List, s *rbacv1.Subject, scope kinds.Scope, at *field.Path) {
	named := l.Require(at.Child("name"), s.Name)
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if named {
			l.Name(at.Child("name"), s.Name, apivalidation.ValidateServiceAccountName)
		}
		check.OneOf(l, at.Child("apiGroup"), s.APIGroup, "")
		if scope == kinds.Cluster {
			l.Require(at.Child("namespace"), s.Namespace)
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		check.OneOf(l, at.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)
	default:
		check.OneOf(l, at.Child("kind"), s.Kind, rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)
	}
}
