package extensions

import (
	"context"
	"fmt"
	"maps"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// converter turns custom resources of one version into another. What it is given it leaves alone; what it returns may
// share memory with that.
type converter interface {
	one(ctx context.Context, u *unstructured.Unstructured, to schema.GroupVersion) (*unstructured.Unstructured, error)
	// many converts several at once; those that are of the version already are returned as they are.
	many(ctx context.Context, all []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error)
	// changes says that versions differ in more than their name.
	changes() bool
}

func newConverter(crd *apiextensionsv1.CustomResourceDefinition, hooks webhooks) (converter, error) {
	if c := crd.Spec.Conversion; c != nil && c.Strategy == apiextensionsv1.WebhookConverter {
		return newWebhook(crd, hooks)
	}
	return renamed{}, nil
}

// renamed is conversion by strategy None: another apiVersion.
type renamed struct{}

func (renamed) one(_ context.Context, u *unstructured.Unstructured, to schema.GroupVersion) (*unstructured.Unstructured, error) {
	out := &unstructured.Unstructured{Object: maps.Clone(u.Object)}
	if meta, ok := out.Object["metadata"].(map[string]any); ok {
		out.Object["metadata"] = maps.Clone(meta)
	}
	out.SetAPIVersion(to.String())
	return out, nil
}

func (r renamed) many(ctx context.Context, all []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, len(all))
	for i, u := range all {
		out[i], _ = r.one(ctx, u, to) // it cannot fail
	}
	return out, nil
}

func (renamed) changes() bool { return false }

// of is the version that a request speaks.
func (r *row) of(req *kinds.Request) *version {
	for _, v := range r.versions {
		if v.spec.Name == req.GroupVersion.Version {
			return v
		}
	}
	return r.hub
}

// in is an object in another version; the object itself if it is in that already.
func (r *row) in(v *version, obj runtime.Object) (*unstructured.Unstructured, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("%T is not a custom resource", obj)
	}
	if u.GetAPIVersion() == v.gvk.GroupVersion().String() {
		return u, nil
	}
	return r.inSoon(context.Background(), v, u)
}

// inSoon is in for who cannot wait: ctx bounds it.
func (r *row) inSoon(ctx context.Context, v *version, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	out, err := r.convert.one(ctx, u, v.gvk.GroupVersion())
	if err != nil {
		return nil, err
	}
	return r.pruned(v, out)
}

// allIn is in for many objects.
func (r *row) allIn(v *version, objects []runtime.Object) ([]runtime.Object, error) {
	all := make([]*unstructured.Unstructured, len(objects))
	for i, obj := range objects {
		all[i] = obj.(*unstructured.Unstructured)
	}
	converted, err := r.convert.many(context.Background(), all, v.gvk.GroupVersion())
	if err != nil {
		return nil, err
	}
	out := make([]runtime.Object, len(objects))
	for i, u := range converted {
		if u != all[i] {
			if u, err = r.pruned(v, u); err != nil {
				return nil, err
			}
		}
		out[i] = u
	}
	return out, nil
}

// pruned drops what a version does not know: versions need not have the same fields. A conversion that changes nothing
// shares its object with the cache.
func (r *row) pruned(v *version, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	s, err := v.schemas()
	if err != nil {
		return nil, err
	}
	if !r.convert.changes() {
		u = u.DeepCopy()
	}
	_, err = v.coerce(u, s, coercion{})
	return u, err
}
