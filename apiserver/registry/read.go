package registry

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Get reads one object.
func (res *Resource) Get(ctx context.Context, w *Write, fresh watchcache.Fresh) (*watchcache.Object, error) {
	obj, err := res.Reader.Get(ctx, w.Namespace, w.Name, fresh)
	return obj, fromStorage(err, "get", res.groupResource(w), w.Name)
}

// Objects are those of a virtual kind that can be read. They are the caller's.
func (res *Resource) Objects(ctx context.Context, w *Write) ([]runtime.Object, error) {
	if res.Kind.Objects == nil {
		return nil, nil
	}
	objects, err := res.Kind.Objects(ctx, res.registry.Hooks(), res.request("get", w))
	for _, obj := range objects {
		setGVK(obj, res.Kind.GVK)
	}
	return objects, err
}

// List reads the objects that opts selects.
func (res *Resource) List(ctx context.Context, w *Write, opts watchcache.ListOptions) (*watchcache.List, error) {
	list, err := res.Reader.List(ctx, opts)
	return list, fromStorage(err, "list", res.groupResource(w), "")
}

// Watch follows the objects that opts selects.
func (res *Resource) Watch(ctx context.Context, w *Write, opts watchcache.WatchOptions) (watchcache.Watcher, error) {
	watcher, err := res.Reader.Watch(ctx, opts)
	return watcher, fromStorage(err, "watch", res.groupResource(w), "")
}
