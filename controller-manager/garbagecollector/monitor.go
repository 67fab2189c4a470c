package garbagecollector

import (
	"context"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/discovered"
)

// monitor feeds the graph with one resource.
type monitor struct {
	resource discovered.Resource
	stop     context.CancelFunc
	synced   func() bool
	started  time.Time
}

// listenShared feeds the graph from an informer that another controller has as well. It is called before that starts.
func (c *Controller) listenShared(gvr schema.GroupVersionResource, s Shared) {
	kind := gvr.GroupVersion().WithKind(s.Kind)
	observe := func(object any) {
		if o, ok := object.(metav1.Object); ok {
			c.act(c.graph.observe(gvr, kind, o))
		}
	}
	c.sharedSynced[gvr] = c.env.Hubs.Listen(s.Informer, cache.ResourceEventHandlerFuncs{
		AddFunc:    observe,
		UpdateFunc: func(_, object any) { observe(object) },
		DeleteFunc: func(object any) {
			if o, ok := object.(metav1.Object); ok {
				c.act(c.graph.remove(o.GetUID()))
				c.gone(gvr.GroupResource(), o.GetNamespace())
			}
		},
	})
}

// watchMetadata feeds the graph from a watch of its own.
func (c *Controller) watchMetadata(process context.Context, r discovered.Resource) *monitor {
	ctx, stop := context.WithCancel(process)
	store := &graphStore{c: c, resource: r.GroupVersionResource, kind: r.GroupVersion().WithKind(r.Kind)}
	reflector := cache.NewReflectorWithOptions(listerWatcher{c.metadata.Resource(r.GroupVersionResource)}, &metav1.PartialObjectMetadata{}, store,
		cache.ReflectorOptions{Name: "garbage collector: " + r.Resource, TypeDescription: r.GroupVersionResource.String()})
	c.workers.Go(func() {
		reflector.RunWithContext(ctx)
		// The resource is no more, and with it all its objects; or the process ends, and nobody acts on it.
		if process.Err() == nil {
			for uid := range c.graph.of(r.GroupVersionResource) {
				c.act(c.graph.remove(uid))
			}
		}
	})
	return &monitor{resource: r, stop: stop, synced: store.synced.Load, started: time.Now()}
}

// listerWatcher reads metadata of one resource.
type listerWatcher struct{ metadata.Getter }

func (l listerWatcher) List(options metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), options)
}

func (l listerWatcher) Watch(options metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), options)
}

func (l listerWatcher) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	return l.Getter.List(ctx, options)
}

func (l listerWatcher) WatchWithContext(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	return l.Getter.Watch(ctx, options)
}

// graphStore is what a reflector takes for a cache. It keeps nothing: the graph is all.
type graphStore struct {
	c        *Controller
	resource schema.GroupVersionResource
	kind     schema.GroupVersionKind
	synced   atomic.Bool
}

func (s *graphStore) Add(object any) error {
	if o, ok := object.(metav1.Object); ok {
		s.c.act(s.c.graph.observe(s.resource, s.kind, o))
		s.announce()
	}
	return nil
}

// announce makes new kinds be looked for at once when a custom resource definition comes, changes or goes.
func (s *graphStore) announce() {
	if s.resource != definitions {
		return
	}
	select {
	case s.c.definitions <- struct{}{}:
	default: // a look is due already
	}
}

func (s *graphStore) Update(object any) error { return s.Add(object) }

func (s *graphStore) Delete(object any) error {
	if o, ok := object.(metav1.Object); ok {
		s.c.act(s.c.graph.remove(o.GetUID()))
		s.c.gone(s.resource.GroupResource(), o.GetNamespace())
		s.announce()
	}
	return nil
}

// Replace is called with all there is, at the start and whenever the watch could not be resumed.
func (s *graphStore) Replace(objects []any, _ string) error {
	before := s.c.graph.of(s.resource)
	for _, object := range objects {
		if o, ok := object.(metav1.Object); ok {
			delete(before, types.UID(o.GetUID()))
			_ = s.Add(object)
		}
	}
	for uid := range before {
		s.c.act(s.c.graph.remove(uid))
	}
	s.synced.Store(true)
	return nil
}

func (s *graphStore) Resync() error { return nil }
