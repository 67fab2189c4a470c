package registry

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Hooks is what rows and admission rules may do with objects: kinds.Store.
func (r *Registry) Hooks() kinds.Store { return hooks{r} }

// SetService registers a collaborator for hooks under a name; see kinds.Store.
func (r *Registry) SetService(name string, service any) { r.services.Store(name, service) }

type hooks struct{ *Registry }

var _ kinds.Store = hooks{}

func (h hooks) resource(kind *kinds.Kind) (*Resource, error) {
	res := h.Resource(kind.GroupResource())
	if res == nil || res.Reader == nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("%s is not served", kind.GroupResource()))
	}
	return res, nil
}

// Get implements kinds.Store.
func (h hooks) Get(ctx context.Context, kind *kinds.Kind, namespace, name string) (runtime.Object, error) {
	res, err := h.resource(kind)
	if err != nil {
		return nil, err
	}
	obj, err := res.Get(ctx, &Write{Namespace: namespace, Name: name}, watchcache.Latest)
	if err != nil {
		return nil, err
	}
	return obj.Decoded()
}

// List implements kinds.Store.
func (h hooks) List(ctx context.Context, kind *kinds.Kind, namespace string) ([]runtime.Object, error) {
	res, err := h.resource(kind)
	if err != nil {
		return nil, err
	}
	list, err := res.List(ctx, &Write{Namespace: namespace}, watchcache.ListOptions{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	return sharedItems(list)
}

func sharedItems(list *watchcache.List) ([]runtime.Object, error) {
	out := make([]runtime.Object, len(list.Items))
	for i, item := range list.Items {
		obj, err := item.Shared()
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		out[i] = obj
	}
	return out, nil
}

// Create implements kinds.Store.
func (h hooks) Create(ctx context.Context, kind *kinds.Kind, obj runtime.Object, dryRun bool) (runtime.Object, error) {
	res, err := h.resource(kind)
	if err != nil {
		return nil, err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	obj = obj.DeepCopyObject()
	setGVK(obj, kind.GVK)
	kind.Default(obj)
	result, err := res.Create(ctx, &Write{Namespace: m.GetNamespace(), Name: m.GetName(), DryRun: dryRun, internal: true}, obj)
	if err != nil {
		return nil, err
	}
	return result.decoded()
}

func (r Result) decoded() (runtime.Object, error) {
	if r.Cached != nil {
		return r.Cached.Decoded()
	}
	return r.Object, nil
}

// Update implements kinds.Store. It writes what change leaves: nothing is prepared or validated, since hooks change what
// clients may not.
func (h hooks) Update(ctx context.Context, kind *kinds.Kind, namespace, name string, dryRun bool, change func(runtime.Object) error) (runtime.Object, error) {
	res, err := h.resource(kind)
	if err != nil {
		return nil, err
	}
	result, err := res.rewrite(ctx, &Write{Namespace: namespace, Name: name, DryRun: dryRun, internal: true}, change)
	if err != nil {
		return nil, err
	}
	return result.decoded()
}

// Delete implements kinds.Store.
func (h hooks) Delete(ctx context.Context, kind *kinds.Kind, namespace, name string, opts *metav1.DeleteOptions) (runtime.Object, error) {
	res, err := h.resource(kind)
	if err != nil {
		return nil, err
	}
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	w := &Write{Namespace: namespace, Name: name, DryRun: len(opts.DryRun) > 0, internal: true, Options: opts}
	result, err := res.Delete(ctx, w, opts)
	if err != nil {
		return nil, err
	}
	return result.decoded()
}

// Kind implements kinds.Store.
func (h hooks) Kind(gr schema.GroupResource) *kinds.Kind {
	if res := h.Resource(gr); res != nil {
		return res.Kind
	}
	return nil
}

// Service implements kinds.Store.
func (h hooks) Service(name string) any {
	service, _ := h.services.Load(name)
	return service
}
