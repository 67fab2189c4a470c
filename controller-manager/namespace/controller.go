package namespace

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller empties namespaces.
type Controller struct {
	env        control.Env
	namespaces corelisters.NamespaceLister
	loop       *control.Loop
}

// New answers the controller of namespaces.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	c := &Controller{env: env, namespaces: core.Namespaces().Lister()}
	c.loop = control.NewLoop(env, "namespace-controller", 10, c.reconcile)
	terminating := func(namespace *corev1.Namespace) []string {
		if namespace.DeletionTimestamp == nil {
			return nil
		}
		return []string{namespace.Name}
	}
	control.Watch(c.loop, core.Namespaces().Informer(), terminating)
	control.WatchChanges(c.loop, core.Pods().Informer(), func(old, new **corev1.Pod) []string {
		if new != nil {
			return nil
		}
		namespace, err := c.namespaces.Get((*old).Namespace)
		if err != nil {
			return nil
		}
		return terminating(namespace)
	})
	return c
}

// Run empties namespaces until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
