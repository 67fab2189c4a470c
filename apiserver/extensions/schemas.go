package extensions

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/openapi"
)

const (
	objectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	listMeta   = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
)

// modelName is a kind's definition in OpenAPI: the group from its end, the version, the kind.
func modelName(gv schema.GroupVersion, kind string) string {
	group := strings.Split(gv.Group, ".")
	slices.Reverse(group)
	return strings.Join(append(group, gv.Version, kind), ".")
}

// schemasOf describes a version in OpenAPI.
func (r *row) schemasOf(v *version) *kinds.Schemas {
	gv := v.gvk.GroupVersion()
	return &kinds.Schemas{
		Object: modelName(gv, v.gvk.Kind), List: modelName(gv, r.names.ListKind),
		Hash: r.hashOf(v),
		Make: func(v2 bool) (map[string]json.RawMessage, error) {
			models, err := r.models(v, v2)
			if err != nil {
				return nil, err
			}
			out := map[string]json.RawMessage{}
			for name, model := range models {
				if out[name], err = json.Marshal(model); err != nil {
					return nil, fmt.Errorf("OpenAPI of %s: %w", v.gvk, err)
				}
			}
			return out, nil
		},
	}
}

// hashOf changes with everything that the definitions of a version are made of.
func (r *row) hashOf(v *version) string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode([]any{v.spec, v.preserve, r.names, r.spec.Scope}) // a hash takes everything
	return fmt.Sprintf("%X", h.Sum(nil))
}

// models are the definitions of the objects and of their lists.
func (r *row) models(v *version, v2 bool) (map[string]*spec.Schema, error) {
	structural, err := v.published()
	if err != nil {
		return nil, err
	}
	b := models{v2: v2, version: v, meta: metav1beta1.PartialObjectMetadata{}.SwaggerDoc()["metadata"]}
	if b.types, err = openapi.TypeMeta(); err != nil {
		return nil, err
	}
	gv := v.gvk.GroupVersion()
	name := modelName(gv, v.gvk.Kind)
	list := modelName(gv, r.names.ListKind)
	return map[string]*spec.Schema{name: b.object(structural), list: b.list(name, r.names.ListKind, r.names.Plural)}, nil
}

// published is the schema as clients may see it: nil if it is not structural.
func (v *version) published() (*structuralschema.Structural, error) {
	props, err := v.props()
	if err != nil || props == nil {
		return nil, err
	}
	s, err := structuralschema.NewStructural(props)
	if err != nil || len(structuralschema.ValidateStructural(nil, s)) > 0 {
		return nil, nil //nolint:nilerr // a condition of the definition says what is wrong
	}
	return s.Unfold(), nil
}

// models builds definitions.
type models struct {
	v2      bool
	version *version
	types   map[string]spec.Schema // apiVersion and kind
	meta    string                 // what is said about metadata
}

func (b *models) ref(name, description string) spec.Schema {
	if b.v2 {
		return *spec.RefSchema("#/definitions/" + name).WithDescription(description)
	}
	// Version 3.0 allows nothing beside a reference.
	return *new(spec.Schema).WithDescription(description).WithAllOf(*spec.RefSchema("#/components/schemas/" + name))
}

func (b *models) object(s *structuralschema.Structural) *spec.Schema {
	var out *spec.Schema
	switch {
	case s == nil, b.v2 && (s.XPreserveUnknownFields || b.version.preserve):
		// With any property named, clients would take others for mistakes.
		out = new(spec.Schema).Typed("object", "")
	default:
		if b.v2 {
			s = openapiv2.ToStructuralOpenAPIV2(s)
		}
		out = s.ToKubeOpenAPI()
		out.SetProperty("metadata", b.ref(objectMeta, b.meta))
		for name, t := range b.types {
			out.SetProperty(name, t)
		}
		b.embedded(out)
		if b.v2 {
			dropDefaults(out)
		}
	}
	b.extend(out, b.version.gvk.Kind)
	return out
}

func (b *models) extend(s *spec.Schema, kind string) {
	gvk := b.version.gvk
	s.AddExtension("x-kubernetes-group-version-kind", []any{map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": kind}})
	if fields := b.version.spec.SelectableFields; len(fields) > 0 {
		var paths []any
		for _, f := range fields {
			paths = append(paths, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
		}
		s.AddExtension("x-kubernetes-selectable-fields", paths)
	}
}

// embedded gives objects within objects the fields that every object has.
func (b *models) embedded(s *spec.Schema) {
	if s == nil {
		return
	}
	for name := range s.Properties {
		p := s.Properties[name]
		b.embedded(&p)
		s.Properties[name] = p
	}
	if s.Items != nil {
		b.embedded(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		b.embedded(s.AdditionalProperties.Schema)
	}
	if open, _ := s.Extensions.GetBool("x-kubernetes-preserve-unknown-fields"); open && b.v2 {
		return
	}
	if is, _ := s.Extensions.GetBool("x-kubernetes-embedded-resource"); !is {
		return
	}
	apiVersion, kind := b.types["apiVersion"], b.types["kind"]
	s.SetProperty("apiVersion", *apiVersion.WithDescription("apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"))
	s.SetProperty("kind", *kind.WithDescription("kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"))
	s.SetProperty("metadata", b.ref(objectMeta, b.meta))
	for _, name := range []string{"kind", "apiVersion"} {
		if !slices.Contains(s.Required, name) {
			s.Required = append(s.Required, name)
		}
	}
}

// dropDefaults leaves defaults out, as version 2 does for all types.
func dropDefaults(s *spec.Schema) {
	if s == nil {
		return
	}
	s.Default = nil
	for name := range s.Properties {
		p := s.Properties[name]
		dropDefaults(&p)
		s.Properties[name] = p
	}
	if s.Items != nil {
		dropDefaults(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		dropDefaults(s.AdditionalProperties.Schema)
	}
}

func (b *models) list(item, kind, plural string) *spec.Schema {
	prefix := "#/components/schemas/"
	if b.v2 {
		prefix = "#/definitions/"
	}
	items := spec.ArrayProperty(spec.RefSchema(prefix + item)).WithDescription(
		fmt.Sprintf("List of %s. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", plural))
	out := new(spec.Schema).Typed("object", "").WithDescription(fmt.Sprintf("%s is a list of %s", kind, b.version.gvk.Kind)).WithRequired("items")
	out.SetProperty("items", *items)
	out.SetProperty("metadata", b.ref(listMeta, metav1beta1.PartialObjectMetadataList{}.SwaggerDoc()["metadata"]))
	for name, t := range b.types {
		out.SetProperty(name, t)
	}
	b.extend(out, kind)
	return out
}

// lazyTypes is the schema by which applies are merged. Making it takes a while, and most kinds are never written here.
type lazyTypes func() (managedfields.TypeConverter, error)

func newTypes(r *row) managedfields.TypeConverter {
	return lazyTypes(sync.OnceValues(func() (managedfields.TypeConverter, error) {
		all, err := openapi.Definitions(objectMeta, listMeta)
		if err != nil {
			return nil, err
		}
		for _, v := range r.versions {
			models, err := r.models(v, false)
			if err != nil {
				return nil, err
			}
			for name, model := range models {
				all[name] = model
			}
		}
		return managedfields.NewTypeConverter(all, r.spec.PreserveUnknownFields)
	}))
}

// ObjectToTyped implements managedfields.TypeConverter.
func (f lazyTypes) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	types, err := f()
	if err != nil {
		return nil, err
	}
	return types.ObjectToTyped(obj, opts...)
}

// TypedToObject implements managedfields.TypeConverter.
func (f lazyTypes) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	types, err := f()
	if err != nil {
		return nil, err
	}
	return types.TypedToObject(value)
}
