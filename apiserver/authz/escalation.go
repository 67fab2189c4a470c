package authz

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Escalation is the rule that nobody hands out what he does not hold: a role may only be written, or bound, by somebody
// who holds all of it, or who may "escalate" or "bind" it.
func (a *Authorizer) Escalation() admission.Rule {
	return admission.Rule{Name: "RBACEscalation", Validate: a.checkEscalation}
}

func (a *Authorizer) checkEscalation(ctx context.Context, at *admission.Attributes) error {
	if !a.cfg.RBAC || at.Kind.GVK.Group != rbacv1.GroupName || at.Subresource != "" || at.User == nil ||
		at.Operation != admission.Create && at.Operation != admission.Update || slices.Contains(at.User.Groups, masters) {
		return nil
	}
	if at.Old != nil && onlyForCollection(at.Object, at.Old) {
		return nil
	}
	switch o := at.Object.(type) {
	case *rbacv1.ClusterRole:
		old, _ := at.Old.(*rbacv1.ClusterRole)
		return a.checkRole(ctx, at, o.Rules, aggregates(o) || old != nil && aggregates(old))
	case *rbacv1.Role:
		return a.checkRole(ctx, at, o.Rules, false)
	case *rbacv1.ClusterRoleBinding:
		return a.checkBinding(ctx, at, o.RoleRef)
	case *rbacv1.RoleBinding:
		return a.checkBinding(ctx, at, o.RoleRef)
	}
	return nil
}

func aggregates(r *rbacv1.ClusterRole) bool {
	return r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

// onlyForCollection: a change of finalizers and owners alone is what the garbage collector must always be able to do.
func onlyForCollection(obj, old runtime.Object) bool {
	obj, old = obj.DeepCopyObject(), old.DeepCopyObject()
	for _, o := range []runtime.Object{obj, old} {
		m, err := meta.Accessor(o)
		if err != nil {
			return false
		}
		m.SetOwnerReferences(nil)
		m.SetFinalizers(nil)
		m.SetManagedFields(nil)
	}
	return apiequality.Semantic.DeepEqual(obj, old)
}

func (a *Authorizer) may(ctx context.Context, user *kinds.UserInfo, verb, resource, namespace, name string) bool {
	decision, _, err := a.Decide(ctx, kinds.Access{User: *user, Verb: verb, Group: rbacv1.GroupName, Version: "*", Resource: resource, Namespace: namespace, Name: name})
	return err == nil && decision == kinds.Allow
}

var fullAuthority = []rbacv1.PolicyRule{
	{Verbs: everything, APIGroups: everything, Resources: everything},
	{Verbs: everything, NonResourceURLs: everything},
}

func (a *Authorizer) checkRole(ctx context.Context, at *admission.Attributes, rules []rbacv1.PolicyRule, needsAll bool) error {
	// The name of the path, which a create does not have: the right to escalate one role is no right to make others.
	name := at.Name
	if at.Operation == admission.Create {
		name = ""
	}
	if a.may(ctx, at.User, "escalate", at.Kind.Resource, at.Namespace, name) {
		return nil
	}
	if err := a.holds(at, rules); err != nil {
		return apierrors.NewForbidden(at.Kind.GroupResource(), at.Name, err)
	}
	if needsAll && a.holds(at, fullAuthority) != nil {
		return apierrors.NewForbidden(at.Kind.GroupResource(), at.Name, errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

func (a *Authorizer) checkBinding(ctx context.Context, at *admission.Attributes, ref rbacv1.RoleRef) error {
	resource := "clusterroles"
	if ref.Kind == "Role" {
		resource = "roles"
	}
	if a.may(ctx, at.User, "bind", resource, at.Namespace, ref.Name) {
		return nil
	}
	a.index.mu.RLock()
	rules, err := a.index.rules(ref, at.Namespace)
	a.index.mu.RUnlock()
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(at.Kind.GroupResource(), ref.Name)
	}
	if err != nil {
		return err
	}
	if err := a.holds(at, rules); err != nil {
		return apierrors.NewForbidden(at.Kind.GroupResource(), at.Name, err)
	}
	return nil
}

// holds says what of some rules the user does not have himself.
func (a *Authorizer) holds(at *admission.Attributes, rules []rbacv1.PolicyRule) error {
	own, unresolved := a.rules(at.User, at.Namespace)
	covered, missing := validation.Covers(own, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, rule := range compact(missing) {
		lines = append(lines, describeRule(rule))
	}
	slices.Sort(lines)
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		at.User.Name, at.User.Groups, strings.Join(slices.Compact(lines), "\n"))
	if unresolved != nil {
		text += fmt.Sprintf("; resolution errors: %v", []error{unresolved})
	}
	return errors.New(text)
}

// compact joins the verbs of rules that are equal but for them: Covers takes rules to pieces.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
next:
	for _, rule := range rules {
		simple := len(rule.APIGroups) == 1 && len(rule.Resources) == 1 && len(rule.ResourceNames) <= 1 && len(rule.NonResourceURLs) == 0
		for i := range out {
			if !simple {
				break
			}
			have := out[i]
			if reflect.DeepEqual(have.APIGroups, rule.APIGroups) && reflect.DeepEqual(have.Resources, rule.Resources) &&
				slices.Equal(have.ResourceNames, rule.ResourceNames) && len(have.NonResourceURLs) == 0 {
				out[i].Verbs = append(slices.Clone(have.Verbs), rule.Verbs...)
				continue next
			}
		}
		out = append(out, rule)
	}
	return out
}

func describeRule(r rbacv1.PolicyRule) string {
	var parts []string
	for _, p := range []struct {
		name string
		list []string
	}{{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs}, {"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs}} {
		if len(p.list) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", p.name, p.list))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
