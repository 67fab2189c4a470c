package endpoints

import (
	"sync"

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
	// gone holds the keys of the Services that were seen to go, until their Endpoints are gone too.
	gone sync.Map
}

// New answers the controller of Endpoints.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	c := &Controller{
		env: env, events: env.Events(name), services: core.Services().Lister(), pods: core.Pods().Lister(),
		endpoints: core.Endpoints().Lister(), store: core.Endpoints().Informer().GetStore(),
	}
	c.loop = control.NewLoop(env, name, 5, c.reconcile)
	control.WatchChanges(c.loop, core.Services().Informer(), func(old, new *(*corev1.Service)) []string {
		if new != nil {
			return control.Self(*new)
		}
		keys := control.Self(*old)
		for _, key := range keys {
			c.gone.Store(key, nil)
		}
		return keys
	})
	control.Watch(c.loop, core.Endpoints().Informer(), control.Self[*corev1.Endpoints])
	control.WatchChanges(c.loop, core.Pods().Informer(), backends.ServicesOf(c.services))
	return c
}

// Run keeps Endpoints until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
