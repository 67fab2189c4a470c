package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller keeps the default accounts.
type Controller struct {
	env        control.Env
	namespaces corelisters.NamespaceLister
	accounts   corelisters.ServiceAccountLister
	loop       *control.Loop
}

// New answers the controller of default service accounts.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	c := &Controller{env: env, namespaces: core.Namespaces().Lister(), accounts: core.ServiceAccounts().Lister()}
	c.loop = control.NewLoop(env, "service-account-controller", 4, c.reconcile)
	control.Watch(c.loop, core.Namespaces().Informer(), control.Self[*corev1.Namespace])
	control.WatchChanges(c.loop, core.ServiceAccounts().Informer(), func(old, new **corev1.ServiceAccount) []string {
		if new != nil || (*old).Name != defaultName {
			return nil
		}
		return []string{(*old).Namespace}
	})
	return c
}

// Run keeps accounts until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
