package authz

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// allows says whether one rule covers an access.
func allows(rule *rbacv1.PolicyRule, a *kinds.Access) bool {
	if !has(rule.Verbs, a.Verb) {
		return false
	}
	if a.NonResource {
		return slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
			if url == "*" || url == a.Path {
				return true
			}
			return strings.HasSuffix(url, "*") && strings.HasPrefix(a.Path, strings.TrimRight(url, "*"))
		})
	}
	return has(rule.APIGroups, a.Group) && hasResource(rule.Resources, a) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.Name))
}

func has(list []string, want string) bool {
	for _, s := range list {
		if s == "*" || s == want {
			return true
		}
	}
	return false
}

// hasResource matches "pods", "pods/log", "*/log" and "*".
func hasResource(list []string, a *kinds.Access) bool {
	for _, r := range list {
		if r == "*" {
			return true
		}
		if a.Subresource == "" {
			if r == a.Resource {
				return true
			}
			continue
		}
		resource, sub, ok := strings.Cut(r, "/")
		if ok && sub == a.Subresource && (resource == a.Resource || resource == "*") {
			return true
		}
	}
	return false
}
