package garbagecollector

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/discovered"
	"github.com/skiff-project/skiff/pkg/run"
)

const (
	name = "generic-garbage-collector"
	// rediscover is how often to look for new kinds that no custom resource definition announces: aggregated APIs.
	rediscover = 30 * time.Second
	// patience is how long a monitor that does not sync may hold up all collection: a broken conversion webhook must not
	// keep the pods of a deleted ReplicaSet running.
	patience = 30 * time.Second
)

// ignored resources have no owners worth following and change all the time.
var ignored = map[schema.GroupResource]bool{
	{Resource: "events"}:                         true,
	{Group: "events.k8s.io", Resource: "events"}: true,
}

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Controller collects garbage.
type Controller struct {
	env      control.Env
	metadata metadata.Interface
	events   record.EventRecorder
	graph    *graph
	gone     func(resource schema.GroupResource, namespace string)
	// sharedSynced are the resources that informers of other controllers feed the graph with.
	sharedSynced map[schema.GroupVersionResource]cache.InformerSynced
	attempts     *control.Loop
	orphans      *control.Loop

	workers     run.Workers
	definitions chan struct{} // a custom resource definition has changed

	mu       sync.Mutex // guards monitors and kinds
	monitors map[schema.GroupVersionResource]*monitor
	kinds    map[schema.GroupKind]discovered.Resource
}

// Shared is an informer that another controller has anyway, and the kind of what is in it.
type Shared struct {
	Kind     string
	Informer cache.SharedIndexInformer
}

// New answers the garbage collector. shared are the informers that other controllers have.
// gone, if not nil, is told of every object that is no more; it must be quick.
func New(env control.Env, shared map[schema.GroupVersionResource]Shared, gone func(resource schema.GroupResource, namespace string)) *Controller {
	if gone == nil {
		gone = func(schema.GroupResource, string) {}
	}
	c := &Controller{
		gone: gone,
		env:  env, metadata: env.Metadata, events: env.Events("garbage-collector-controller"), graph: newGraph(), sharedSynced: map[schema.GroupVersionResource]cache.InformerSynced{},
		definitions: make(chan struct{}, 1),
		monitors:    map[schema.GroupVersionResource]*monitor{}, kinds: map[schema.GroupKind]discovered.Resource{},
	}
	c.attempts = control.NewLoop(env, name, 20, c.attempt)
	c.orphans = control.NewLoop(env, name, 5, c.orphan)
	for gvr, s := range shared {
		c.listenShared(gvr, s)
	}
	c.attempts.Needs(c.ready)
	c.orphans.Needs(c.ready)
	return c
}

// act hands on what a change of the graph gives rise to.
func (c *Controller) act(w work) {
	for _, uid := range w.attempt {
		c.attempts.Add(string(uid))
	}
	for _, uid := range w.orphan {
		c.orphans.Add(string(uid))
	}
	for _, s := range w.strays {
		reference := &corev1.ObjectReference{Kind: s.dependent.kind, APIVersion: s.dependent.apiVersion, Namespace: s.dependent.namespace, Name: s.dependent.name, UID: s.uid}
		c.events.Eventf(reference, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", "ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
			s.reference.APIVersion, s.reference.Kind, s.dependent.namespace, s.reference.Name, s.reference.UID, s.dependent.namespace)
	}
}

// Run collects until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	defer c.workers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		if c.discover(ctx) {
			break
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
	c.workers.Go(func() { _ = c.attempts.Run(ctx) })
	c.workers.Go(func() { _ = c.orphans.Run(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.env.Clock.After(rediscover):
		case <-c.definitions:
			// It is served a moment after it is established.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(500 * time.Millisecond):
			}
		}
		c.discover(ctx)
	}
}

// discover starts a monitor for every resource that there is and stops those of resources that are no more. It answers
// whether it could learn of any.
func (c *Controller) discover(ctx context.Context) bool {
	resources, err := discovered.List(c.env.Discovery)
	if err != nil {
		slog.Warn("discovery is incomplete", "controller", name, "error", err)
	}
	if len(resources) == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[schema.GroupVersionResource]bool{}
	for _, r := range resources {
		c.kinds[r.GroupKind()] = r
		if !r.Can("delete", "list", "watch") || ignored[r.GroupResource()] {
			continue
		}
		found[r.GroupVersionResource] = true
		if c.monitors[r.GroupVersionResource] != nil {
			continue
		}
		if synced := c.sharedSynced[r.GroupVersionResource]; synced != nil {
			c.monitors[r.GroupVersionResource] = &monitor{resource: r, synced: synced, started: time.Now(), stop: func() {}}
		} else {
			c.monitors[r.GroupVersionResource] = c.watchMetadata(ctx, r)
		}
	}
	for gvr, m := range c.monitors {
		// An API that could not be reached has not lost its objects.
		if !found[gvr] && err == nil {
			m.stop()
			delete(c.monitors, gvr)
			delete(c.kinds, m.resource.GroupKind())
		}
	}
	return true
}

// ready says that the graph has all there is, as far as that can be had.
func (c *Controller) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.monitors {
		if !m.synced() && time.Since(m.started) < patience {
			return false
		}
	}
	return true
}

// resourceOf answers the resource of a kind, whichever version of it a reference names.
func (c *Controller) resourceOf(apiVersion, kind string) (discovered.Resource, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return discovered.Resource{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.kinds[schema.GroupKind{Group: gv.Group, Kind: kind}]
	return r, ok
}

func uidOf(key string) types.UID { return types.UID(key) }
