package admission

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Spoken is the version that the client speaks.
func (a *Attributes) Spoken() *kinds.Version {
	if a.Version != nil {
		return a.Version
	}
	return &a.Kind.Served[0]
}

// ResourceIn is the resource of the write in one of its versions.
func (a *Attributes) ResourceIn(v *kinds.Version) schema.GroupVersionResource {
	return v.GVK.GroupVersion().WithResource(a.Kind.Resource)
}

// ObjectKind is the kind of the objects in one of the versions: that of the subresource where it takes another one
// (Scale, Eviction, PodAttachOptions).
func (a *Attributes) ObjectKind(v *kinds.Version) schema.GroupVersionKind {
	if a.other() {
		return a.Kind.Subresources[a.Subresource].GVK
	}
	return v.GVK
}

// other says that the objects are not of the row's own type.
func (a *Attributes) other() bool {
	base, _, _ := strings.Cut(a.Subresource, "/")
	s := a.Kind.Subresources[base]
	return s != nil && s.Update == nil
}

// In is an object of the write as it is in one of the versions, with its kind filled in. It is a copy where anything had
// to be changed, and nil if the object is nil.
func (a *Attributes) In(v *kinds.Version, obj runtime.Object) (runtime.Object, error) {
	if obj == nil || reflect.ValueOf(obj).IsNil() {
		return nil, nil
	}
	if !a.other() && v.FromHub != nil {
		var err error
		if obj, err = v.FromHub(obj); err != nil {
			return nil, err
		}
	}
	gvk := a.ObjectKind(v)
	if have := obj.GetObjectKind().GroupVersionKind(); have != gvk {
		obj = obj.DeepCopyObject()
		obj.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return obj, nil
}

// Replace makes a.Object what changed says, which is of version v. The object stays the same one to whoever holds it.
func (a *Attributes) Replace(v *kinds.Version, changed runtime.Object) error {
	if !a.other() {
		if v.Finish != nil {
			// What a webhook adds to a custom resource is pruned and defaulted like what a client sends.
			if _, err := v.Finish(changed, false); err != nil {
				return err
			}
		}
		if v.ToHub != nil {
			var err error
			if changed, err = v.ToHub(changed); err != nil {
				return err
			}
		}
		changed.GetObjectKind().SetGroupVersionKind(a.Object.GetObjectKind().GroupVersionKind())
		a.Kind.Default(changed)
	} else if s := a.Kind.Subresources[a.Subresource]; s.Create != nil && s.Create.Default != nil {
		s.Create.Default(changed)
	}
	if u, ok := a.Object.(*unstructured.Unstructured); ok {
		u.Object = changed.(*unstructured.Unstructured).Object
		return nil
	}
	reflect.ValueOf(a.Object).Elem().Set(reflect.ValueOf(changed).Elem())
	return nil
}

// NewIn is an empty object of what In answers.
func (a *Attributes) NewIn(v *kinds.Version) runtime.Object {
	if a.other() {
		return reflect.New(reflect.TypeOf(a.Object).Elem()).Interface().(runtime.Object)
	}
	return v.New()
}
