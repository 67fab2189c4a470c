package registry

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// rewrite changes an object in etcd by whatever change does to it, as often as it takes until no other write comes
// between. It is the server's own door: a binding, an eviction's condition, a quota's usage.
func (res *Resource) rewrite(ctx context.Context, w *Write, change func(runtime.Object) error) (Result, error) {
	current, err := res.read(ctx, w, watchcache.Cached)
	if err != nil {
		return Result{}, err
	}
	fresh := current == nil
	if fresh {
		if current, err = res.read(ctx, w, watchcache.Latest); err != nil {
			return Result{}, err
		}
	}
	for {
		result, unchanged, err := res.rewriteOnce(ctx, w, current, change)
		var conflict *storage.Conflict
		if err == nil && (!unchanged || fresh) || err != nil && fresh && !errors.As(err, &conflict) {
			return result, err
		}
		now, readErr := res.read(ctx, w, watchcache.Latest)
		if readErr != nil {
			return Result{}, readErr
		}
		if !errors.As(err, &conflict) && revisionOf(now) == revisionOf(current) {
			return result, err
		}
		current, fresh = now, true
		if ctx.Err() != nil {
			return Result{}, fromStorage(ctx.Err(), "update", res.groupResource(w), w.Name)
		}
	}
}

func (res *Resource) rewriteOnce(ctx context.Context, w *Write, current *watchcache.Object, change func(runtime.Object) error) (Result, bool, error) {
	if current == nil {
		return Result{}, false, apierrors.NewNotFound(res.groupResource(w), w.Name)
	}
	obj, err := current.Decoded()
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	if err := change(obj); err != nil {
		return Result{}, false, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	return res.replace(ctx, w, current, obj, m)
}
