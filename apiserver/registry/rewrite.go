package registry

import (
	"context"
	"errors"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/equal"
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
	old, err := current.Shared()
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	if s := res.Kind.Subresources["status"]; s != nil && !res.Kind.OwnWritesUnnamed && sameSpec(obj, old) {
		// Upstream's server writes what it counts (a quota's usage, a budget's evictions) as a client of its own.
		obj = res.tracker(res.version(w), "status").Update(old, obj, serverManager)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	oldMeta, err := meta.Accessor(old)
	if err != nil {
		return Result{}, false, apierrors.NewInternalError(err)
	}
	if len(oldMeta.GetFinalizers()) > 0 && !w.DryRun && res.finished(obj, m, oldMeta) {
		// The change took away what held a marked object.
		if _, err := res.release(ctx, w, res.request("update", w), current, old); err != nil {
			return Result{}, false, err
		}
		return Result{Object: obj, Deleted: true}, false, nil
	}
	keepTimes(m, oldMeta, func() bool { return sameObject(obj, old) })
	return res.replace(ctx, w, current, obj, m)
}

// sameSpec says that two objects of a type differ in nothing that a user asks for.
func sameSpec(a, b runtime.Object) bool {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	if x.Kind() != reflect.Struct || x.Type() != y.Type() {
		return false
	}
	spec := x.FieldByName("Spec")
	return spec.IsValid() && equal.Pointers(spec.Addr(), y.FieldByName("Spec").Addr())
}
