package pvcprotection

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller protects claims.
type Controller struct {
	env    control.Env
	claims corelisters.PersistentVolumeClaimLister
	pods   corelisters.PodLister
	loop   *control.Loop
}

// New answers the controller that protects claims.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	c := &Controller{env: env, claims: core.PersistentVolumeClaims().Lister(), pods: core.Pods().Lister()}
	c.loop = control.NewLoop(env, "pvc-protection-controller", 2, c.reconcile)
	control.Watch(c.loop, core.PersistentVolumeClaims().Informer(), control.Self[*corev1.PersistentVolumeClaim])
	control.WatchChanges(c.loop, core.Pods().Informer(), func(old, new **corev1.Pod) []string {
		if old == nil || (new != nil && !control.Ended(*new)) {
			return nil
		}
		return claimsOf(*old)
	})
	return c
}

// Run protects until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
