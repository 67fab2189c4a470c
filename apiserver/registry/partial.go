package registry

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/wire/jsonplan"
)

// partial applies a merge patch, strategic or not, to those top-level fields alone that it names: turning a whole object
// into maps and back is most of the cost of a patch, and nearly all patches are of the status.
//
// Most of them need no maps at all (package jsonplan); the rest have directives or touch what only the libraries know.
//
// It is nil for whatever is not plain sailing: directives at the top, unknown fields, mistakes. Those take the way of the
// whole object, which has the messages.
func (p *Patch) partial(v view, old runtime.Object) runtime.Object {
	if p.Type != types.StrategicMergePatchType && p.Type != types.MergePatchType || old == nil {
		return nil
	}
	current, err := v.versioned(old)
	if err != nil {
		return nil
	}
	if _, custom := current.(*unstructured.Unstructured); custom {
		return nil
	}
	if out := p.inPlace(v, current); out != nil {
		return out
	}
	patch := map[string]any{}
	if found, err := kjson.UnmarshalStrict(p.Body, &patch); err != nil || len(found) > 0 || len(patch) == 0 {
		return nil
	}
	fields := topFields(reflect.TypeOf(current).Elem())
	from := reflect.ValueOf(current).Elem()
	for name := range patch {
		if _, ok := fields[name]; !ok {
			return nil
		}
	}
	target := v.target()
	fresh := target.New()
	if p.Type == types.StrategicMergePatchType {
		err = mergeStrategic(from, fields, patch, fresh)
	} else {
		err = mergeJSON(from, fields, patch, p.Body, fresh)
	}
	if err != nil {
		return nil
	}
	// A copy of everything but what is replaced.
	part := reflect.New(from.Type())
	part.Elem().Set(from)
	for name := range patch {
		part.Elem().Field(fields[name]).SetZero()
	}
	out := part.Interface().(runtime.Object).DeepCopyObject()
	to, merged := reflect.ValueOf(out).Elem(), reflect.ValueOf(fresh).Elem()
	for name := range patch {
		to.Field(fields[name]).Set(merged.Field(fields[name]))
	}
	out.GetObjectKind().SetGroupVersionKind(target.GVK)
	return out
}

// inPlace applies the patch to a copy of the object, without maps in between.
func (p *Patch) inPlace(v view, current runtime.Object) runtime.Object {
	var out runtime.Object
	if v.statusAlone() {
		out = p.copyForStatus(current)
	} else {
		out = current.DeepCopyObject()
	}
	if !jsonplan.Merge(out, p.Body, p.Type == types.StrategicMergePatchType) {
		return nil
	}
	out.GetObjectKind().SetGroupVersionKind(v.target().GVK)
	return out
}

// copyForStatus copies what a patch of the status changes. The rest is the object's own again when the update is prepared,
// whatever the patch says of it, so that it need not be copied unless the patch names it.
func (p *Patch) copyForStatus(current runtime.Object) runtime.Object {
	names, ok := jsonplan.Names(p.Body)
	from := reflect.ValueOf(current).Elem()
	known := topFields(from.Type())
	for _, name := range names {
		i, has := known[name]
		ok = ok && has && kinds.StatusPart(from.Type().Field(i).Name)
	}
	if !ok {
		return current.DeepCopyObject()
	}
	part := reflect.New(from.Type())
	for i := range from.NumField() {
		if kinds.StatusPart(from.Type().Field(i).Name) {
			part.Elem().Field(i).Set(from.Field(i))
		}
	}
	// The managed fields will be replaced, and their entries are never changed.
	var managed []metav1.ManagedFieldsEntry
	m, err := meta.Accessor(part.Interface())
	if err == nil {
		managed = m.GetManagedFields()
		m.SetManagedFields(nil)
	}
	out := part.Interface().(runtime.Object).DeepCopyObject()
	if m, err = meta.Accessor(out); err == nil {
		m.SetManagedFields(managed)
	}
	to := reflect.ValueOf(out).Elem()
	for i := range from.NumField() {
		if !kinds.StatusPart(from.Type().Field(i).Name) {
			to.Field(i).Set(from.Field(i))
		}
	}
	return out
}

func mergeStrategic(from reflect.Value, fields map[string]int, patch map[string]any, fresh runtime.Object) error {
	original := make(map[string]any, len(patch))
	for name := range patch {
		field := from.Field(fields[name])
		if field.Kind() != reflect.Struct {
			// Maps and lists at the top (the data of a ConfigMap) cost little the long way.
			return errNotPartial
		}
		if _, own := field.Addr().Interface().(json.Marshaler); own {
			return errNotPartial // a time: a struct here, a string on the wire
		}
		value, err := runtime.DefaultUnstructuredConverter.ToUnstructured(field.Addr().Interface())
		if err != nil {
			return err
		}
		original[name] = value
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(original, patch, fresh)
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, fresh, true)
}

func mergeJSON(from reflect.Value, fields map[string]int, patch map[string]any, body []byte, fresh runtime.Object) error {
	part := make(map[string]any, len(patch))
	for name := range patch {
		part[name] = from.Field(fields[name]).Addr().Interface()
	}
	original, err := json.Marshal(part)
	if err != nil {
		return err
	}
	merged, err := jsonpatch.MergePatch(original, body)
	if err != nil {
		return err
	}
	found, err := kjson.UnmarshalStrict(merged, fresh)
	if err == nil && len(found) > 0 {
		err = errNotPartial
	}
	return err
}

var errNotPartial = runtime.NewStrictDecodingError(nil)

var topFieldsOf sync.Map // reflect.Type -> map[string]int

// topFields are the fields of an API type by their names in JSON, without apiVersion and kind.
func topFields(typ reflect.Type) map[string]int {
	if known, ok := topFieldsOf.Load(typ); ok {
		return known.(map[string]int)
	}
	out := map[string]int{}
	for i := range typ.NumField() {
		if name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			out[name] = i
		}
	}
	topFieldsOf.Store(typ, out)
	return out
}
