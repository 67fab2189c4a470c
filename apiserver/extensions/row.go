package extensions

import (
	"fmt"
	"slices"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilversion "k8s.io/apimachinery/pkg/version"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry/ownership"
)

// Upstream's order of verbs, which clients see in discovery; a definition that is being deleted takes no new objects.
var (
	verbs            = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	terminatingVerbs = []string{"delete", "deletecollection", "get", "list", "watch"}
)

// row is a definition as it is served.
type row struct {
	kind     *kinds.Kind
	fields   *ownership.Factory
	versions []*version
	// hub is the version that the registry and the cache work with.
	hub *version
	// terminating refuses new objects: the definition is being deleted.
	terminating atomic.Bool
	// unheard is when a webhook did not answer a question about selectable fields, in nanoseconds since 1970.
	unheard atomic.Int64

	spec    *apiextensionsv1.CustomResourceDefinitionSpec
	names   *apiextensionsv1.CustomResourceDefinitionNames
	convert converter
}

// newRow makes the row of a definition with accepted names. The definition must not be changed afterwards.
func newRow(crd *apiextensionsv1.CustomResourceDefinition, hooks webhooks) (*row, error) {
	r := &row{versions: versionsOf(crd), spec: &crd.Spec, names: &crd.Status.AcceptedNames}
	if r.names.Plural == "" || r.names.Singular == "" || r.names.Kind == "" || r.names.ListKind == "" {
		return nil, fmt.Errorf("%s: not all names are accepted", crd.Name)
	}
	var stored *version
	var served []*version
	for _, v := range r.versions {
		if v.spec.Storage {
			stored = v
		}
		if v.spec.Served {
			served = append(served, v)
		}
	}
	if stored == nil {
		return nil, fmt.Errorf("%s: no version is stored", crd.Name)
	}
	slices.SortStableFunc(served, func(a, b *version) int {
		return utilversion.CompareKubeAwareVersionStrings(b.spec.Name, a.spec.Name)
	})
	internal := len(served) == 0
	r.hub = stored
	switch {
	case internal:
		served = []*version{stored} // for the server's own hands
	case !stored.spec.Served:
		r.hub = served[0]
	default:
		served = append([]*version{stored}, slices.DeleteFunc(served, func(v *version) bool { return v == stored })...)
	}
	var err error
	if r.convert, err = newConverter(crd, hooks); err != nil {
		return nil, err
	}
	r.fields = &ownership.Factory{Types: newTypes(r)}
	r.kind = r.newKind(crd, served, stored)
	r.kind.Internal = internal
	return r, nil
}

func (r *row) newKind(crd *apiextensionsv1.CustomResourceDefinition, served []*version, stored *version) *kinds.Kind {
	k := &kinds.Kind{
		GVK: r.hub.gvk, ListKind: r.names.ListKind, Resource: r.names.Plural, Singular: r.names.Singular,
		ShortNames: r.names.ShortNames, Categories: r.names.Categories, Scope: kinds.Scope(crd.Spec.Scope == apiextensionsv1.NamespaceScoped),
		Verbs: verbs, EtcdPrefix: crd.Spec.Group + "/" + crd.Spec.Names.Plural, StoredJSON: true, Custom: true, Remote: r.convert.changes(),
		Stored: r.newServed(stored),
		New:    func() runtime.Object { return newObject(r.hub.gvk) },
		NewList: func() runtime.Object {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(r.hub.gvk.GroupVersion().WithKind(r.names.ListKind))
			return list
		},
		Default:        func(runtime.Object) {}, // each version has its own
		PrepareCreate:  r.prepareCreate,
		PrepareUpdate:  r.prepareUpdate,
		Validate:       r.validate,
		ValidateUpdate: r.validateUpdate,
		Warnings:       r.warnings,
		Begin:          r.begin,
		Subresources:   r.subresources(r.hub),
	}
	for _, v := range served {
		k.Served = append(k.Served, r.newServed(v))
	}
	for _, v := range r.versions {
		if v != stored && !slices.Contains(served, v) {
			k.AlsoStored = append(k.AlsoStored, r.newServed(v))
		}
	}
	for _, v := range served {
		if len(v.fields) > 0 {
			k.Fields = func(obj runtime.Object) fields.Set { return r.fieldSet(obj.(*unstructured.Unstructured)) }
		}
	}
	hub := &k.Served[0]
	k.Columns, k.Cells = hub.Columns, hub.Cells
	return k
}

func newObject(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(gvk)
	return u
}

func (r *row) newServed(v *version) kinds.Version {
	t := newTable(v.spec.AdditionalPrinterColumns)
	out := kinds.Version{
		GVK: v.gvk, ListKind: r.names.ListKind,
		New: func() runtime.Object { return newObject(v.gvk) },
		NewList: func() runtime.Object {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(v.gvk.GroupVersion().WithKind(r.names.ListKind))
			return list
		},
		FieldAliases: v.aliases(), Deprecated: r.deprecation(v),
		Finish: v.finish, Thaw: v.thaw, Default: v.fillIn,
		Subresources: r.subresources(v), Columns: t.headers,
		Cells: func(obj runtime.Object) []any {
			u, err := r.in(v, obj)
			if err != nil {
				u = obj.(*unstructured.Unstructured)
			}
			return t.cells(u)
		},
		Schemas: r.schemasOf(v),
	}
	if v.hasStatus() {
		out.Resets = []string{"status"}
	}
	if v != r.hub {
		out.FromHub = func(obj runtime.Object) (runtime.Object, error) { return object(r.in(v, obj)) }
		if r.convert.changes() {
			out.FromHubMany = func(objects []runtime.Object) ([]runtime.Object, error) { return r.allIn(v, objects) }
		}
		out.ToHub = func(obj runtime.Object) (runtime.Object, error) { return object(r.in(r.hub, obj)) }
	}
	return out
}

// object keeps a nil pointer from becoming an interface that is not nil.
func object(u *unstructured.Unstructured, err error) (runtime.Object, error) {
	if err != nil {
		return nil, err
	}
	return u, nil
}

// deprecation is the warning about a version; empty if it is not deprecated.
func (r *row) deprecation(v *version) string {
	if !v.spec.Deprecated {
		return ""
	}
	if v.spec.DeprecationWarning != nil {
		return *v.spec.DeprecationWarning
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", r.spec.Group, v.spec.Name, r.spec.Names.Kind)
	better := ""
	for i := range r.spec.Versions {
		other := &r.spec.Versions[i]
		if other.Served && !other.Deprecated && utilversion.CompareKubeAwareVersionStrings(v.spec.Name, other.Name) < 0 &&
			(better == "" || utilversion.CompareKubeAwareVersionStrings(better, other.Name) < 0) {
			better = other.Name
		}
	}
	if better != "" {
		text += fmt.Sprintf("; use %s/%s %s", r.spec.Group, better, r.spec.Names.Kind)
	}
	return text
}

// subresources is never nil: a version without any has none, whatever the hub has.
func (r *row) subresources(v *version) map[string]*kinds.Subresource {
	out := map[string]*kinds.Subresource{}
	if v.hasStatus() {
		out["status"] = &kinds.Subresource{GVK: v.gvk, Verbs: []string{"get", "patch", "update"}, Update: &kinds.UpdateDoor{
			Resets: []string{"metadata", "spec"}, Prepare: prepareStatus, Validate: r.validateStatus}}
	}
	if v.scale() != nil {
		out["scale"] = r.scaleDoor(v)
	}
	return out
}
