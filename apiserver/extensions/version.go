package extensions

import (
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	structuralpruning "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// version is one version of a custom resource. It never changes.
type version struct {
	gvk        schema.GroupVersionKind
	namespaced bool
	// preserve is the old switch that turns pruning off for all of the object.
	preserve bool
	spec     *apiextensionsv1.CustomResourceDefinitionVersion
	fields   []selectable

	// schemas are compiled on first use.
	schemas func() (*schemas, error)
	// rules are nil if the schema has none.
	rules func() *cel.Validator
}

// schemas are the forms in which the libraries want a version's schema.
type schemas struct {
	// structural is nil for a version without a schema.
	structural *structuralschema.Structural
	whole      validation.SchemaValidator
	// status is nil if the schema does not speak of a status.
	status validation.SchemaValidator
}

func newVersion(crd *apiextensionsv1.CustomResourceDefinition, i int) *version {
	v := &version{
		gvk:        schema.GroupVersionKind{Group: crd.Spec.Group, Version: crd.Spec.Versions[i].Name, Kind: crd.Status.AcceptedNames.Kind},
		namespaced: crd.Spec.Scope == apiextensionsv1.NamespaceScoped, preserve: crd.Spec.PreserveUnknownFields, spec: &crd.Spec.Versions[i],
	}
	v.fields = selectables(v.spec)
	v.schemas = sync.OnceValues(v.compile)
	v.rules = sync.OnceValue(func() *cel.Validator {
		s, err := v.schemas()
		if err != nil || s.structural == nil {
			return nil
		}
		return cel.NewValidator(s.structural, true, celconfig.PerCallLimit)
	})
	return v
}

// props is the version's schema in the library's internal type; nil if there is none.
func (v *version) props() (*apiextensions.JSONSchemaProps, error) {
	if v.spec.Schema == nil || v.spec.Schema.OpenAPIV3Schema == nil {
		return nil, nil
	}
	out := &apiextensions.CustomResourceValidation{}
	// Conversion shares memory with what it converts, and the definition belongs to the watch cache.
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.spec.Schema.DeepCopy(), out, nil); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", v.gvk, err)
	}
	return out.OpenAPIV3Schema, nil
}

func (v *version) compile() (*schemas, error) {
	props, err := v.props()
	if err != nil {
		return nil, err
	}
	s := &schemas{}
	if props != nil {
		structural, err := structuralschema.NewStructural(props)
		if err != nil && !v.preserve {
			return nil, fmt.Errorf("schema of %s: %w", v.gvk, err)
		}
		if !v.preserve {
			structural = structural.DeepCopy() // its defaults are the definition's own
			if err := structuraldefaulting.PruneDefaults(structural); err != nil {
				return nil, fmt.Errorf("defaults of %s: %w", v.gvk, err)
			}
		}
		s.structural = structural
	}
	if s.whole, _, err = validation.NewSchemaValidator(props); err != nil {
		return nil, fmt.Errorf("schema of %s: %w", v.gvk, err)
	}
	if props != nil && v.hasStatus() {
		if status, ok := props.Properties["status"]; ok {
			if s.status, _, err = validation.NewSchemaValidator(&status); err != nil {
				return nil, fmt.Errorf("schema of the status of %s: %w", v.gvk, err)
			}
		}
	}
	return s, nil
}

func (v *version) hasStatus() bool {
	return v.spec.Subresources != nil && v.spec.Subresources.Status != nil
}

func (v *version) scale() *apiextensionsv1.CustomResourceSubresourceScale {
	if v.spec.Subresources == nil {
		return nil
	}
	return v.spec.Subresources.Scale
}

// finish is kinds.Version's Finish.
func (v *version) finish(obj runtime.Object, strict bool) ([]error, error) {
	u, s, err := v.unpack(obj)
	if err != nil {
		return nil, err
	}
	paths, err := v.coerce(u, s, coercion{report: strict})
	if err != nil {
		return nil, err
	}
	v.fill(u, s)
	unknown := make([]error, len(paths))
	for i, path := range paths {
		unknown[i] = fmt.Errorf(`unknown field "%s"`, path)
	}
	return unknown, nil
}

// thaw is kinds.Version's Thaw. What upstream once stored without looking at it is repaired.
func (v *version) thaw(obj runtime.Object) error {
	u, s, err := v.unpack(obj)
	if err != nil {
		return err
	}
	if _, err := v.coerce(u, s, coercion{repair: true}); err != nil {
		return err
	}
	v.fill(u, s)
	return nil
}

// fillIn is kinds.Version's Default.
func (v *version) fillIn(obj runtime.Object) {
	if u, s, err := v.unpack(obj); err == nil {
		v.fill(u, s)
	}
}

func (v *version) fill(u *unstructured.Unstructured, s *schemas) {
	if u.GroupVersionKind() == v.gvk {
		structuraldefaulting.Default(u.Object, s.structural)
	}
}

func (v *version) unpack(obj runtime.Object) (*unstructured.Unstructured, *schemas, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, nil, fmt.Errorf("%T is not a custom resource", obj)
	}
	s, err := v.schemas()
	return u, s, err
}

// coercion says how an object is made to fit its schema.
type coercion struct {
	// repair drops metadata of wrong types instead of refusing them, and counts a missing generation.
	repair bool
	// report asks for the paths of what was dropped.
	report bool
}

// coerce does for an unstructured object what decoding into a Go type does for others: metadata becomes that of a real
// object, and fields that the schema does not know are dropped.
func (v *version) coerce(u *unstructured.Unstructured, s *schemas, how coercion) (unknown []string, err error) {
	kind, hasKind, err := unstructured.NestedString(u.Object, "kind")
	if err != nil {
		return nil, err
	}
	apiVersion, hasVersion, err := unstructured.NestedString(u.Object, "apiVersion")
	if err != nil {
		return nil, err
	}
	meta, hasMeta, unknown, err := schemaobjectmeta.GetObjectMetaWithOptions(u.Object, schemaobjectmeta.ObjectMetaOptions{
		DropMalformedFields: how.repair, ReturnUnknownFieldPaths: how.report})
	if err != nil {
		return nil, err
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, err
	}
	if gv.WithKind(kind) == v.gvk {
		if !v.preserve {
			unknown = append(unknown, structuralpruning.PruneWithOptions(u.Object, s.structural, true,
				structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: how.report})...)
			structuraldefaulting.PruneNonNullableNullsWithoutDefaults(u.Object, s.structural)
		}
		bad, paths := schemaobjectmeta.CoerceWithOptions(nil, u.Object, s.structural, false, schemaobjectmeta.CoerceOptions{
			DropInvalidFields: how.repair, ReturnUnknownFieldPaths: how.report})
		if bad != nil {
			return nil, bad
		}
		unknown = append(unknown, paths...)
		if how.repair && hasMeta && meta.Generation == 0 {
			meta.Generation = 1
		}
	}
	if hasKind {
		u.SetKind(kind)
	}
	if hasVersion {
		u.SetAPIVersion(apiVersion)
	}
	if hasMeta {
		if err := schemaobjectmeta.SetObjectMeta(u.Object, meta); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}
