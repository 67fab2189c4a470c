package pvprotection

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller protects volumes.
type Controller struct {
	env     control.Env
	volumes corelisters.PersistentVolumeLister
	loop    *control.Loop
}

// New answers the controller that protects volumes.
func New(env control.Env) *Controller {
	volumes := env.Informers.Core().V1().PersistentVolumes()
	c := &Controller{env: env, volumes: volumes.Lister()}
	c.loop = control.NewLoop(env, "pv-protection-controller", 1, c.reconcile)
	control.Watch(c.loop, volumes.Informer(), control.Self[*corev1.PersistentVolume])
	return c
}

// Run protects until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
