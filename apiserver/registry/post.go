package registry

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry/ownership"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// Ask answers a create of a virtual kind. obj is given away.
func (res *Resource) Ask(ctx context.Context, w *Write, obj runtime.Object) (runtime.Object, error) {
	if m, err := meta.Accessor(obj); err == nil {
		wipeSystemFields(m)
		if err := res.matchNamespace(w, m); err != nil {
			return nil, err
		}
		if w.Name == "" {
			w.Name = m.GetName()
		}
		// Upstream shows the fields' owners even of what is never stored.
		obj = res.tracker(res.version(w), "").Create(res.Codec.New, obj, w.Manager)
	}
	if err := res.mutate(ctx, res.attributes(w, admission.Create, obj, nil)); err != nil {
		return nil, err
	}
	req := res.request("create", w)
	req.DryRun = w.DryRun
	res.Kind.PrepareCreate(req, obj)
	if errs := res.Kind.Validate(req, obj); len(errs) > 0 {
		// Upstream leaves the kind out where the object is a question.
		return nil, invalid(schema.GroupKind{Group: res.Kind.GVK.Group}, w.Name, errs)
	}
	warn(ctx, res.Kind.Warnings(req, obj, nil))
	if err := res.admitValid(ctx, w, admission.Create, obj, nil); err != nil {
		return nil, err
	}
	return res.Kind.Create(ctx, res.registry.Hooks(), req, w.Namespace, obj)
}

// Post answers a POST below an object: a binding, an eviction, a token. obj is of the door's type and given away.
func (res *Resource) Post(ctx context.Context, w *Write, door *kinds.CreateDoor, obj runtime.Object) (runtime.Object, error) {
	if m, err := meta.Accessor(obj); err == nil {
		if err := res.matchNamespace(w, m); err != nil {
			return nil, err
		}
		obj = res.doorTracker(w, door, obj).Update(emptyOf(door, obj), obj, w.Manager)
	}
	if err := res.mutate(ctx, res.attributes(w, admission.Create, obj, nil)); err != nil {
		return nil, err
	}
	req := res.request("create", w)
	req.DryRun = w.DryRun
	if door.Validate != nil {
		if errs := door.Validate(req, obj); len(errs) > 0 {
			return nil, invalid(obj.GetObjectKind().GroupVersionKind().GroupKind(), metaName(obj), errs)
		}
	}
	if err := res.admitValid(ctx, w, admission.Create, obj, nil); err != nil {
		return nil, err
	}
	return door.Do(ctx, res.registry.Hooks(), req, w.Namespace, w.Name, obj)
}

func emptyOf(door *kinds.CreateDoor, like runtime.Object) runtime.Object {
	empty := door.New()
	empty.GetObjectKind().SetGroupVersionKind(like.GetObjectKind().GroupVersionKind())
	return empty
}

// doorTracker tracks the fields of what is posted below an object, which is of another kind than the object.
func (res *Resource) doorTracker(w *Write, door *kinds.CreateDoor, obj runtime.Object) ownership.Tracker {
	gvk := obj.GetObjectKind().GroupVersionKind()
	return res.trackerOf(trackerKey{gvk.GroupVersion(), w.Subresource}, func() (ownership.Tracker, error) {
		v := kinds.Version{GVK: gvk, New: door.New}
		kind := &kinds.Kind{GVK: gvk, Served: []kinds.Version{v}, Stored: v, New: door.New, Default: func(runtime.Object) {}}
		return (&ownership.Factory{}).Tracker(kind, &kind.Served[0], w.Subresource, wire.NewCodec(kind))
	})
}

func metaName(obj runtime.Object) string {
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetName()
}

// AdmitConnect asks admission whether somebody may connect to an object. options say how.
func (res *Resource) AdmitConnect(ctx context.Context, w *Write, options runtime.Object) error {
	a := res.attributes(w, admission.Connect, options, nil)
	if err := res.chain().Mutate(ctx, a); err != nil {
		return err
	}
	return res.chain().Validate(ctx, a)
}
