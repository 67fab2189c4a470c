package endpoints

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/backends"
	"github.com/skiff-project/skiff/controller-manager/control"
)

const name = "endpoint-controller"

// Controller keeps Endpoints.
type Controller struct {
	env       control.Env
	events    record.EventRecorder
	services  corelisters.ServiceLister
	pods      corelisters.PodLister
	endpoints corelisters.EndpointsLister
	store     cache.Store // of endpoints
	loop      *control.Loop
	writes    control.Writes
}

// New answers the controller of Endpoints.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	c := &Controller{
		env: env, events: env.Events(name), services: core.Services().Lister(), pods: core.Pods().Lister(),
		endpoints: core.Endpoints().Lister(), store: core.Endpoints().Informer().GetStore(),
	}
	c.loop = control.NewLoop(env, name, 5, c.reconcile)
	control.Watch(c.loop, core.Services().Informer(), control.Self[*corev1.Service])
	control.Watch(c.loop, core.Endpoints().Informer(), control.Self[*corev1.Endpoints])
	control.WatchChanges(c.loop, core.Pods().Informer(), backends.ServicesOf(c.services))
	return c
}

// Run keeps Endpoints until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
