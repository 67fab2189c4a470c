package registry

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry/ownership"
)

// KindOf finds the row that serves a kind, and the version of it; nil if nobody does.
func (r *Registry) KindOf(gvk schema.GroupVersionKind) (*kinds.Kind, *kinds.Version) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for gvr, s := range r.versions {
		if gvr.Group == gvk.Group && gvr.Version == gvk.Version && s.version.GVK == gvk {
			return s.resource.Kind, s.version
		}
	}
	return nil, nil
}

// Types is the schema by which objects of a kind are merged.
func (r *Registry) Types(kind *kinds.Kind) (managedfields.TypeConverter, error) {
	res := r.Resource(kind.GroupResource())
	if res == nil {
		return nil, fmt.Errorf("%s is not served", kind.GVK)
	}
	if res.fields != nil && res.fields.Types != nil {
		return res.fields.Types, nil
	}
	return ownership.BuiltIn(), nil
}
