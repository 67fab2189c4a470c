package ttl

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller annotates nodes.
type Controller struct {
	env   control.Env
	nodes corelisters.NodeLister
	loop  *control.Loop
	step  int // of steps; owned by the loop's one worker
}

// New answers the controller.
func New(env control.Env) *Controller {
	nodes := env.Informers.Core().V1().Nodes()
	c := &Controller{env: env, nodes: nodes.Lister()}
	c.loop = control.NewLoop(env, "ttl-controller", 1, c.reconcile)
	control.WatchChanges(c.loop, nodes.Informer(), func(old, new **corev1.Node) []string {
		if new == nil || (old != nil && (*old).Annotations[annotation] == (*new).Annotations[annotation]) {
			return nil // a heartbeat
		}
		return control.Self(*new)
	})
	return c
}

// Run annotates until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
