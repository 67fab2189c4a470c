package clusterroleaggregation

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/labels"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller aggregates.
type Controller struct {
	env    control.Env
	roles  rbaclisters.ClusterRoleLister
	store  cache.Store
	loop   *control.Loop
	writes control.Writes
}

// New answers the controller that aggregates.
func New(env control.Env) *Controller {
	roles := env.Informers.Rbac().V1().ClusterRoles()
	c := &Controller{env: env, roles: roles.Lister(), store: roles.Informer().GetStore()}
	c.loop = control.NewLoop(env, "clusterrole-aggregation-controller", 2, c.reconcile)
	control.Watch(c.loop, roles.Informer(), func(*rbacv1.ClusterRole) []string { return c.aggregated() })
	return c
}

// aggregated answers all roles that are sums: any role may be a part of any of them.
func (c *Controller) aggregated() []string {
	all, err := c.roles.List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, role := range all {
		if role.AggregationRule != nil {
			keys = append(keys, role.Name)
		}
	}
	return keys
}

// Run aggregates until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
