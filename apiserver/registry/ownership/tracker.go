package ownership

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Tracker records writes of one kind through one version and one subresource. Objects are of the kind's hub type.
type Tracker interface {
	// Create sets the managed fields of a new object. empty makes one with nothing in it.
	Create(empty func() runtime.Object, obj runtime.Object, manager string) runtime.Object
	// Update sets obj's managed fields for a plain write that turns live into obj.
	// It cannot fail: where it does not know better, the owners stay as they were.
	Update(live, obj runtime.Object, manager string) runtime.Object
	// Apply merges config into live. Errors are Status errors, or plain ones where upstream's are.
	Apply(live runtime.Object, config *unstructured.Unstructured, manager string, force bool) (runtime.Object, error)
}

// Converter turns objects of a kind into its other versions.
type Converter interface {
	FromHub(obj runtime.Object, gv schema.GroupVersion) (runtime.Object, error)
	ToHub(obj runtime.Object) (runtime.Object, error)
}

// Factory makes trackers.
type Factory struct {
	// Types finds the schema of a kind. Custom resources bring their own; nil means BuiltIn.
	Types managedfields.TypeConverter
}

// Tracker makes the tracker of a kind, version and subresource ("" for the main resource).
func (f *Factory) Tracker(kind *kinds.Kind, version *kinds.Version, subresource string, convert Converter) (Tracker, error) {
	c := &converter{kind: kind, convert: convert}
	resets := resetFields(kind, version, subresource)
	types := f.Types
	if types == nil {
		types = BuiltIn()
	}
	if empty, err := c.New(version.GVK); err == nil {
		if _, err := types.ObjectToTyped(empty); err != nil {
			// What is never stored (reviews, tokens) has no generated schema; its fields are taken as they look.
			types = managedfields.NewDeducedTypeConverter()
		}
	}
	lib, err := managedfields.NewDefaultCRDFieldManager(types, c, c, c, version.GVK, kind.GVK.GroupVersion(), subresource, resets)
	if err != nil {
		return nil, fmt.Errorf("track the fields of %s: %w", version.GVK, err)
	}
	plain := library{manager: lib}
	if fast := newFast(plain, types, kind, version, subresource, resets[fieldpath.APIVersion(version.GVK.GroupVersion().String())]); fast != nil {
		return fast, nil
	}
	return &plain, nil
}

// library is a Tracker made of apimachinery's field manager alone.
type library struct {
	manager *managedfields.FieldManager
}

func (l *library) Create(empty func() runtime.Object, obj runtime.Object, manager string) runtime.Object {
	return l.Update(empty(), obj, manager)
}

func (l *library) Update(live, obj runtime.Object, manager string) runtime.Object {
	return wholeSeconds(l.manager.UpdateNoErrors(live, obj, manager))
}

// wholeSeconds cuts the times of the managed fields to what is written of them, since objects are kept as they were
// before they were written.
func wholeSeconds(obj runtime.Object) runtime.Object {
	if m, err := meta.Accessor(obj); err == nil {
		entries := m.GetManagedFields()
		for i := range entries {
			if t := entries[i].Time; t != nil && t.Nanosecond() != 0 {
				cut := metav1.NewTime(t.Truncate(time.Second))
				entries[i].Time = &cut
			}
		}
	}
	return obj
}

func (l *library) Apply(live runtime.Object, config *unstructured.Unstructured, manager string, force bool) (runtime.Object, error) {
	obj, err := l.manager.Apply(live, config, manager, force)
	if err != nil {
		return nil, err
	}
	return wholeSeconds(obj), nil
}

// resetFields are the paths that a writer does not come to own, in every version of the kind.
func resetFields(kind *kinds.Kind, version *kinds.Version, subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	resets := resetPaths(kind, version, subresource)
	if len(resets) == 0 {
		return nil
	}
	set := fieldpath.NewSet()
	for _, path := range resets {
		set.Insert(fieldpath.MakePathOrDie(parts(path)...))
	}
	filter := fieldpath.NewExcludeSetFilter(set)
	out := map[fieldpath.APIVersion]fieldpath.Filter{}
	for i := range kind.Served {
		out[fieldpath.APIVersion(kind.Served[i].GVK.GroupVersion().String())] = filter
	}
	return out
}

func resetPaths(kind *kinds.Kind, version *kinds.Version, subresource string) []string {
	if s := kind.Subresource(version, subresource); s != nil && s.Update != nil {
		return s.Update.Resets
	}
	if version.Subresources != nil {
		return version.Resets
	}
	return kind.Resets
}

func parts(path string) []any {
	var out []any
	for _, part := range strings.Split(path, ".") {
		out = append(out, part)
	}
	return out
}

// converter is what apimachinery's field manager asks of a scheme, for one kind.
type converter struct {
	kind    *kinds.Kind
	convert Converter
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c *converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	obj, err := c.typed(in)
	if err != nil {
		return nil, err
	}
	gvk := obj.GetObjectKind().GroupVersionKind()
	want, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{gvk})
	if !ok {
		gv, isVersion := target.(schema.GroupVersion)
		if !isVersion {
			return nil, runtime.NewNotRegisteredErrForTarget("kinds", nil, target)
		}
		want = gv.WithKind(gvk.Kind)
	}
	if want.GroupVersion() == gvk.GroupVersion() {
		return obj, nil
	}
	if gvk.GroupVersion() != c.kind.GVK.GroupVersion() {
		if obj, err = c.convert.ToHub(obj); err != nil {
			return nil, err
		}
		if want.GroupVersion() == c.kind.GVK.GroupVersion() {
			return obj, nil
		}
	}
	for i := range c.kind.Served {
		if c.kind.Served[i].GVK.GroupVersion() == want.GroupVersion() {
			return c.convert.FromHub(obj, want.GroupVersion())
		}
	}
	return nil, runtime.NewNotRegisteredErrForKind("kinds", want)
}

// typed makes a Go value of what the merge of an apply leaves: a map.
func (c *converter) typed(in runtime.Object) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	gvk := u.GroupVersionKind()
	for i := range c.kind.Served {
		if v := &c.kind.Served[i]; v.GVK == gvk {
			obj := v.New()
			if _, custom := obj.(*unstructured.Unstructured); custom {
				return in, nil
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.UnstructuredContent(), obj); err != nil {
				return nil, fmt.Errorf("unable to convert unstructured object to %v: %w", gvk, err)
			}
			obj.GetObjectKind().SetGroupVersionKind(gvk)
			return obj, nil
		}
	}
	return nil, runtime.NewNotRegisteredErrForKind("kinds", gvk)
}

// Convert implements runtime.ObjectConvertor; the field manager does not call it.
func (c *converter) Convert(in, out, context any) error {
	return fmt.Errorf("convert %T to %T: only by version", in, out)
}

// ConvertFieldLabel implements runtime.ObjectConvertor; the field manager does not call it.
func (c *converter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// New implements runtime.ObjectCreater.
func (c *converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	for i := range c.kind.Served {
		if v := &c.kind.Served[i]; v.GVK == gvk {
			obj := v.New()
			obj.GetObjectKind().SetGroupVersionKind(gvk)
			return obj, nil
		}
	}
	return nil, runtime.NewNotRegisteredErrForKind("kinds", gvk)
}

// Default implements runtime.ObjectDefaulter for the outcome of an apply.
func (c *converter) Default(in runtime.Object) {
	gvk := in.GetObjectKind().GroupVersionKind()
	for i := range c.kind.Served {
		if v := &c.kind.Served[i]; v.GVK == gvk && v.Default != nil {
			v.Default(in)
			return
		}
	}
	if gvk == c.kind.GVK {
		c.kind.Default(in)
	}
}

// None tracks nothing: for kinds without a usable schema.
type None struct{}

// Create implements Tracker.
func (None) Create(_ func() runtime.Object, obj runtime.Object, _ string) runtime.Object { return obj }

// Update implements Tracker.
func (None) Update(_, obj runtime.Object, _ string) runtime.Object { return obj }

// Apply implements Tracker.
func (None) Apply(_ runtime.Object, config *unstructured.Unstructured, _ string, _ bool) (runtime.Object, error) {
	return nil, fmt.Errorf("no schema for %s: it cannot be applied", config.GroupVersionKind())
}
