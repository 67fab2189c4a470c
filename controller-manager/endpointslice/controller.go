package endpointslice

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/backends"
	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	name      = "endpointslice-controller"
	managedBy = "endpointslice-controller.k8s.io"
)

// Controller keeps EndpointSlices.
type Controller struct {
	env      control.Env
	events   record.EventRecorder
	services corelisters.ServiceLister
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
	slices   discoverylisters.EndpointSliceLister
	store    cache.Store // of slices
	loop     *control.Loop
	writes   control.Writes
}

// New answers the controller of EndpointSlices.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	slices := env.Informers.Discovery().V1().EndpointSlices()
	c := &Controller{
		env: env, events: env.Events(name), services: core.Services().Lister(), pods: core.Pods().Lister(), nodes: core.Nodes().Lister(),
		slices: slices.Lister(), store: slices.Informer().GetStore(),
	}
	c.loop = control.NewLoop(env, name, 5, c.reconcile)
	control.Watch(c.loop, core.Services().Informer(), control.Self[*corev1.Service])
	control.Watch(c.loop, slices.Informer(), serviceOf)
	control.WatchChanges(c.loop, core.Pods().Informer(), backends.ServicesOf(c.services))
	control.WatchChanges(c.loop, core.Nodes().Informer(), c.nodeMoved)
	return c
}

// Run keeps EndpointSlices until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func serviceOf(slice *discoveryv1.EndpointSlice) []string {
	if slice.Labels[discoveryv1.LabelManagedBy] != managedBy || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return nil
	}
	return []string{control.Key(slice.Namespace, slice.Labels[discoveryv1.LabelServiceName])}
}

// nodeMoved answers all services when a node's zone becomes known or changes: endpoints carry it.
func (c *Controller) nodeMoved(old, new **corev1.Node) []string {
	zone := func(n **corev1.Node) string {
		if n == nil {
			return ""
		}
		return (*n).Labels[corev1.LabelTopologyZone]
	}
	if zone(old) == zone(new) {
		return nil
	}
	all, err := c.services.List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, service := range all {
		if backends.Selects(service) {
			keys = append(keys, control.Key(service.Namespace, service.Name))
		}
	}
	return keys
}
