package clusterroleaggregation

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	role, err := c.roles.Get(key)
	if err != nil || role.AggregationRule == nil {
		c.writes.Forget(key)
		return nil
	}
	all, err := c.roles.List(labels.Everything())
	if err != nil {
		return err
	}
	rules, err := sum(role, all)
	if err != nil || equality.Semantic.DeepEqual(rules, role.Rules) {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": role.UID, "resourceVersion": role.ResourceVersion}, "rules": rules,
	})
	if err != nil {
		return err
	}
	written, err := c.env.Client.RbacV1().ClusterRoles().Patch(ctx, role.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return control.IgnoreNotFound(err)
	}
	c.writes.Wrote(key, c.store, written)
	return nil
}

// sum answers the rules of all roles that role's selectors find, each rule once, in the order of selectors and of names.
func sum(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	rules := []rbacv1.PolicyRule{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, part := range all {
			if part.Name == role.Name || !selector.Matches(labels.Set(part.Labels)) {
				continue
			}
			for _, rule := range part.Rules {
				if !slices.ContainsFunc(rules, func(has rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(has, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}
