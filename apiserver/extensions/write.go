package extensions

import (
	"context"
	"errors"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// What follows are the functions of kinds.Kind that a write goes through. They are given objects of the hub's version,
// and judge them in that of the request.

// begin refuses new objects of a definition that is being deleted.
func (r *row) begin(_ context.Context, _ kinds.Store, _ *kinds.Request, obj, old runtime.Object) (done, undo func(), err error) {
	if old == nil && obj != nil && r.terminating.Load() {
		name := obj.(*unstructured.Unstructured).GetName()
		return nil, nil, apierrors.NewForbidden(r.kind.GroupResource(), name, errors.New("create not allowed while custom resource definition is terminating"))
	}
	return nil, nil, nil
}

func (r *row) prepareCreate(req *kinds.Request, obj runtime.Object) {
	u := obj.(*unstructured.Unstructured)
	if r.of(req).hasStatus() {
		delete(u.Object, "status")
	}
	u.SetGeneration(1)
}

func (r *row) prepareUpdate(req *kinds.Request, obj, before runtime.Object) {
	u, old := obj.(*unstructured.Unstructured), before.(*unstructured.Unstructured)
	if r.of(req).hasStatus() {
		if status, ok := old.Object["status"]; ok {
			u.Object["status"] = runtime.DeepCopyJSONValue(status)
		} else {
			delete(u.Object, "status")
		}
	}
	if !sameBesideMetadata(u.Object, old.Object) {
		u.SetGeneration(old.GetGeneration() + 1)
	}
}

// sameBesideMetadata is upstream's rule for counting a generation.
func sameBesideMetadata(a, b map[string]any) bool {
	without := func(m map[string]any) map[string]any {
		out := make(map[string]any, len(m))
		for key, value := range m {
			if key != "metadata" {
				out[key] = value
			}
		}
		return out
	}
	return apiequality.Semantic.DeepEqual(without(a), without(b))
}

// prepareStatus leaves nothing of obj but the status and who set it.
func prepareStatus(_ *kinds.Request, obj, old runtime.Object) {
	u := obj.(*unstructured.Unstructured)
	status, ok := u.Object["status"]
	managed := u.GetManagedFields()
	u.Object = old.(*unstructured.Unstructured).DeepCopy().Object
	u.SetManagedFields(managed)
	if ok {
		u.Object["status"] = status
	} else {
		delete(u.Object, "status")
	}
}

func (r *row) validate(req *kinds.Request, obj runtime.Object) field.ErrorList {
	v := r.of(req)
	u, err := r.in(v, obj)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return v.validateNew(u)
}

// both are two objects in the version that a request speaks.
func (r *row) both(req *kinds.Request, obj, old runtime.Object) (v *version, u, before *unstructured.Unstructured, err error) {
	v = r.of(req)
	if u, err = r.in(v, obj); err == nil {
		before, err = r.in(v, old)
	}
	return v, u, before, err
}

func (r *row) validateUpdate(req *kinds.Request, obj, old runtime.Object) field.ErrorList {
	v, u, before, err := r.both(req, obj, old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return v.validateUpdate(u, before)
}

func (r *row) validateStatus(req *kinds.Request, obj, old runtime.Object) field.ErrorList {
	v, u, before, err := r.both(req, obj, old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return v.validateStatus(u, before)
}

func (r *row) warnings(_ *kinds.Request, obj, old runtime.Object) []string {
	var before metav1.Object
	if old != nil {
		before = old.(*unstructured.Unstructured)
	}
	return warnings(obj.(*unstructured.Unstructured), before)
}
