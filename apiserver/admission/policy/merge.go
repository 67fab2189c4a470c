package policy

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/cel/mutation/dynamic"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// merge applies an Object{...} value as server-side apply would, without owners.
func (p *Policies) merge(app *application, object runtime.Object, result ref.Val) (runtime.Object, error) {
	configuration, ok := result.(*dynamic.ObjectVal)
	if !ok {
		return nil, fmt.Errorf("unsupported return type from ApplyConfiguration expression: %v", result.Type())
	}
	if err := configuration.CheckTypeNamesMatchFieldPathNames(); err != nil {
		return nil, fmt.Errorf("type mismatch: %w", err)
	}
	fields, ok := configuration.Value().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("invalid return type: %T", result)
	}
	patch := &unstructured.Unstructured{Object: fields}
	patch.SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
	kind, _ := p.KindOf(app.version.GVK)
	converter, err := p.Types(kind)
	if err != nil {
		return nil, err
	}
	wanted, err := converter.ObjectToTyped(patch)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to convert patch object to typed object: %w", err)
	}
	if found := atomics(nil, wanted.Schema(), wanted.TypeRef(), wanted.AsValue()); len(found) > 0 {
		return nil, fmt.Errorf("error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: %v", strings.Join(found, ", "))
	}
	live, err := converter.ObjectToTyped(object, typed.AllowDuplicates)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to convert original object to typed object: %w", err)
	}
	merged, err := live.Merge(wanted)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to merge patch: %w", err)
	}
	out, err := converter.TypedToObject(merged)
	if err != nil {
		return nil, fmt.Errorf("error applying patch: failed to convert typed object to object: %w", err)
	}
	return likeHub(out, object)
}

// likeHub brings a merged object into the Go type of the one that it was merged into.
func likeHub(merged, like runtime.Object) (runtime.Object, error) {
	u, ok := merged.(*unstructured.Unstructured)
	if _, custom := like.(*unstructured.Unstructured); !ok || custom {
		return merged, nil
	}
	into := reflect.New(reflect.TypeOf(like).Elem()).Interface().(runtime.Object)
	return into, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into)
}

// atomics are the paths of lists, maps and structs in a value that can only be replaced as a whole: what an expression
// leaves out of them would be lost.
func atomics(path fieldpath.Path, s *schema.Schema, of schema.TypeRef, v value.Value) (found []string) {
	atom, ok := s.Resolve(of)
	switch {
	case !ok:
		return nil
	case v.IsMap() && atom.Map != nil:
		if atom.Map.ElementRelationship == schema.Atomic {
			found = append(found, path.String())
		}
		v.AsMap().Iterate(func(key string, child value.Value) bool {
			if field, ok := atom.Map.FindField(key); ok {
				found = append(found, atomics(append(path.Copy(), fieldpath.PathElement{FieldName: &key}), s, field.Type, child)...)
			}
			return true
		})
	case v.IsList() && atom.List != nil:
		if atom.List.ElementRelationship == schema.Atomic {
			found = append(found, path.String())
		}
		list := v.AsList()
		for i := range list.Length() {
			found = append(found, atomics(append(path.Copy(), fieldpath.PathElement{Index: &i}), s, atom.List.ElementType, list.At(i))...)
		}
	}
	return found
}
