package admission

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Objects is what rules know of other objects. What they get is shared and must not be changed.
type Objects struct {
	// Readers finds the cache of a kind; nil where it is not served.
	Readers func(gr schema.GroupResource) watchcache.Reader
	// Store writes (quota) and finds collaborators.
	Store kinds.Store
	// Authz answers what a user may do.
	Authz interface {
		Decide(ctx context.Context, access kinds.Access) (kinds.Decision, string, error)
	}
	// Configs are the rules' configurations, as ReadConfigurations has checked them.
	Configs Configurations
}

// latest reads an object as fresh as the last acknowledged write, whoever made it.
func (o *Objects) latest(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	reader := o.Readers(gr)
	if reader == nil {
		return nil, apierrors.NewNotFound(gr, name)
	}
	found, err := reader.Get(ctx, namespace, name, watchcache.Latest)
	if err == nil {
		request.CaughtUp(ctx)
	}
	return shared(found, err, gr, name)
}

// ownView reads an object as this server knows it: no older than what it has itself acknowledged. A kind that is not served
// (nil) has none.
func ownView(ctx context.Context, reader watchcache.Reader, namespace, name string) (*watchcache.Object, error) {
	if reader == nil {
		return nil, storage.ErrNotFound
	}
	if err := reader.CatchUp(ctx); err != nil {
		return nil, err
	}
	return reader.Get(ctx, namespace, name, watchcache.Cached)
}

// get reads one object from what this server knows, and once more, fresh, if it knows none: an object that another
// server has just made must not be missing. Where another rule has read something fresh on behalf of the same request, what
// this server knows is fresh.
func (o *Objects) get(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	reader := o.Readers(gr)
	if reader == nil {
		return nil, apierrors.NewNotFound(gr, name)
	}
	found, err := ownView(ctx, reader, namespace, name)
	if errors.Is(err, storage.ErrNotFound) && !request.KnownFresh(ctx) {
		found, err = reader.Get(ctx, namespace, name, watchcache.Latest)
	}
	return shared(found, err, gr, name)
}

// fresh reads one object as it is now.
func (o *Objects) fresh(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	reader := o.Readers(gr)
	if reader == nil {
		return nil, apierrors.NewNotFound(gr, name)
	}
	found, err := reader.Get(ctx, namespace, name, watchcache.Latest)
	return shared(found, err, gr, name)
}

func shared(found *watchcache.Object, err error, gr schema.GroupResource, name string) (runtime.Object, error) {
	if errors.Is(err, storage.ErrNotFound) {
		return nil, apierrors.NewNotFound(gr, name)
	}
	if err != nil {
		return nil, notRead(err, gr)
	}
	obj, err := found.Shared()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj, nil
}

// notRead says that a rule could not find out what it must know. An etcd that does not answer is not this server's mistake.
func notRead(err error, gr schema.GroupResource) error {
	err = fmt.Errorf("read %s: %w", gr, err)
	switch {
	case errors.Is(err, storage.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return apierrors.NewTimeoutError(err.Error(), 0)
	case errors.Is(err, storage.ErrUnavailable):
		return apierrors.NewServiceUnavailable(err.Error())
	}
	return apierrors.NewInternalError(err)
}

// list reads what this server knows of a kind, in one namespace or all.
func (o *Objects) list(ctx context.Context, gr schema.GroupResource, namespace string) ([]runtime.Object, error) {
	return o.find(ctx, gr, watchcache.ListOptions{Namespace: namespace, Cached: true})
}

func (o *Objects) find(ctx context.Context, gr schema.GroupResource, opts watchcache.ListOptions) ([]runtime.Object, error) {
	reader := o.Readers(gr)
	if reader == nil {
		return nil, nil
	}
	if opts.Cached {
		// Who has just been told that a default class or a limit was made, or is gone, goes by it.
		if err := reader.CatchUp(ctx); err != nil {
			return nil, notRead(err, gr)
		}
		if reader.Count() == 0 {
			return nil, nil
		}
	}
	list, err := reader.List(ctx, opts)
	if err != nil {
		return nil, notRead(err, gr)
	}
	out := make([]runtime.Object, len(list.Items))
	for i, item := range list.Items {
		if out[i], err = item.Shared(); err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	return out, nil
}

// List is what this server knows of a kind, in one namespace or all. The objects must not be changed. A kind that nobody
// has an object of costs nothing.
func (o *Objects) List(ctx context.Context, gr schema.GroupResource, namespace string) ([]runtime.Object, error) {
	return o.list(ctx, gr, namespace)
}

// Get is one object as this server knows it, read afresh if it knows none. It must not be changed.
func (o *Objects) Get(ctx context.Context, gr schema.GroupResource, namespace, name string) (runtime.Object, error) {
	return o.get(ctx, gr, namespace, name)
}

func core(resource string) schema.GroupResource { return schema.GroupResource{Resource: resource} }

// Forbidden refuses a write. The name is the object's, or what it will begin with.
func Forbidden(a *Attributes, format string, args ...any) *apierrors.StatusError {
	return forbidden(a, format, args...).(*apierrors.StatusError)
}

// forbidden refuses a write. The name is the object's, or what it will begin with.
func forbidden(a *Attributes, format string, args ...any) error {
	name := a.Name
	if name == "" {
		name = "Unknown"
		if m, err := meta.Accessor(a.Object); err == nil {
			if m.GetName() != "" {
				name = m.GetName()
			} else if m.GetGenerateName() != "" {
				name = m.GetGenerateName()
			}
		}
	}
	return apierrors.NewForbidden(a.Kind.GroupResource(), name, fmt.Errorf(format, args...))
}
