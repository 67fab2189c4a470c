package endpointslicemirroring

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	name      = "endpointslicemirroring-controller"
	managedBy = "endpointslicemirroring-controller.k8s.io"
)

// Controller mirrors Endpoints.
type Controller struct {
	env       control.Env
	events    record.EventRecorder
	services  corelisters.ServiceLister
	endpoints corelisters.EndpointsLister
	slices    discoverylisters.EndpointSliceLister
	store     cache.Store // of slices
	loop      *control.Loop
	writes    control.Writes
}

// New answers the controller that mirrors.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	slices := env.Informers.Discovery().V1().EndpointSlices()
	c := &Controller{
		env: env, events: env.Events(name), services: core.Services().Lister(), endpoints: core.Endpoints().Lister(),
		slices: slices.Lister(), store: slices.Informer().GetStore(),
	}
	c.loop = control.NewLoop(env, name, 5, c.reconcile)
	control.Watch(c.loop, core.Endpoints().Informer(), control.Self[*corev1.Endpoints])
	control.Watch(c.loop, core.Services().Informer(), control.Self[*corev1.Service])
	control.Watch(c.loop, slices.Informer(), func(slice *discoveryv1.EndpointSlice) []string {
		if slice.Labels[discoveryv1.LabelManagedBy] != managedBy || slice.Labels[discoveryv1.LabelServiceName] == "" {
			return nil
		}
		return []string{control.Key(slice.Namespace, slice.Labels[discoveryv1.LabelServiceName])}
	})
	return c
}

// Run mirrors until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
