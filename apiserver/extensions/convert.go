package extensions

import (
	"context"
	"maps"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
