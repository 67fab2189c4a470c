package registry

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry/ownership"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// scaleKind is the type of the scale subresource, as far as bytes and managed fields need a kind.
var scaleKind = func() *kinds.Kind {
	gvk := autoscalingv1.SchemeGroupVersion.WithKind("Scale")
	v := kinds.Version{GVK: gvk, ListKind: "ScaleList", New: func() runtime.Object { return &autoscalingv1.Scale{} }}
	return &kinds.Kind{
		GVK: gvk, ListKind: v.ListKind, Resource: "scale", Served: []kinds.Version{v}, Stored: v, New: v.New,
		Default: func(runtime.Object) {}, Subresources: map[string]*kinds.Subresource{},
		Columns: scaleColumns, Cells: scaleCells,
	}
}()

var scaleColumns = []metav1.TableColumnDefinition{
	{Name: "Name", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
	{Name: "Desired", Type: "integer", Description: autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"]},
	{Name: "Available", Type: "integer", Description: autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"]},
	{Name: "Age", Type: "string", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
}

func scaleCells(obj runtime.Object) []any {
	s := obj.(*autoscalingv1.Scale)
	return []any{s.Name, s.Spec.Replicas, s.Status.Replicas, kinds.Age(s.CreationTimestamp)}
}

// ScaleCodec turns Scales into bytes.
var ScaleCodec = wire.NewCodec(scaleKind)

// customScaleCodec does so for custom resources, whose tables upstream describes in other words.
var customScaleCodec = func() *wire.Codec {
	kind := *scaleKind
	kind.Columns = []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
		{Name: "Desired", Type: "integer", Description: "Number of desired replicas"},
		{Name: "Available", Type: "integer", Description: "Number of actual replicas"},
		{Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
	}
	return wire.NewCodec(&kind)
}()

// ScaleCodec turns the Scales of a kind into bytes.
func (res *Resource) ScaleCodec() *wire.Codec {
	if res.Kind.Custom {
		return customScaleCodec
	}
	return ScaleCodec
}

// asScale is an object seen as its Scale.
type asScale struct {
	res     *Resource
	version *kinds.Version
}

func (v asScale) door() *kinds.ScaleDoor { return v.res.Kind.Subresource(v.version, "scale").Scale }

func (v asScale) target() wire.Target { return wire.TargetOf(&scaleKind.Served[0]) }

func (v asScale) encode(obj runtime.Object) ([]byte, error) {
	data, err := ScaleCodec.Encode(obj, watchcache.Form{Version: autoscalingv1.SchemeGroupVersion})
	return append(data, '\n'), err
}

func (v asScale) versioned(obj runtime.Object) (runtime.Object, error) { return obj, nil }
func (v asScale) statusAlone() bool                                    { return false }

func (v asScale) hub(obj runtime.Object) (runtime.Object, error) { return obj, nil }

func (v asScale) empty() runtime.Object {
	return &autoscalingv1.Scale{TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"}}
}

func (v asScale) track(u *updating, old, obj runtime.Object) runtime.Object {
	return v.res.scaleTracker().Update(old, obj, u.Manager)
}

func (v asScale) apply(live runtime.Object, config *unstructured.Unstructured, manager string, force bool) (runtime.Object, error) {
	return v.res.scaleTracker().Apply(live, config, manager, force)
}

func (res *Resource) scaleTracker() ownership.Tracker {
	return res.trackerOf(trackerKey{autoscalingv1.SchemeGroupVersion, "scale"}, func() (ownership.Tracker, error) {
		return (&ownership.Factory{}).Tracker(scaleKind, &scaleKind.Served[0], "scale", ScaleCodec)
	})
}

// fieldsOf carries managed fields between an object and its Scale.
func (v asScale) fieldsOf(m metav1.Object) *managedfields.ScaleHandler {
	mappings := managedfields.ResourcePathMappings{}
	for i := range v.res.Kind.Served {
		served := &v.res.Kind.Served[i]
		var path fieldpath.Path
		if s := v.res.Kind.Subresource(served, "scale"); s != nil && s.Scale != nil {
			path = replicasPath(s.Scale)
		}
		mappings[served.GVK.GroupVersion().String()] = path
	}
	return managedfields.NewScaleHandler(m.GetManagedFields(), v.version.GVK.GroupVersion(), mappings)
}

func replicasPath(door *kinds.ScaleDoor) fieldpath.Path {
	if len(door.Path) == 0 {
		return fieldpath.MakePathOrDie("spec", "replicas")
	}
	var path fieldpath.Path
	for _, name := range door.Path {
		path = append(path, fieldpath.PathElement{FieldName: &name})
	}
	return path
}

// of is the Scale of an object.
func (v asScale) of(obj runtime.Object, withFields bool) (*autoscalingv1.Scale, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	spec, status, selector := v.door().Get(obj)
	scale := &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: "autoscaling/v1"},
		ObjectMeta: metav1.ObjectMeta{
			Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
			ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: spec},
		Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selector},
	}
	if withFields {
		entries, err := v.fieldsOf(m).ToSubresource()
		if err != nil {
			return nil, err
		}
		scale.ManagedFields = entries
	}
	return scale, nil
}

// ScaleOf is the Scale of an object as a version shows it.
func (res *Resource) ScaleOf(obj runtime.Object, version *kinds.Version) (*autoscalingv1.Scale, error) {
	v := asScale{res, version}
	if check := v.door().Check; check != nil {
		if err := check(obj); err != nil {
			return nil, err
		}
	}
	return v.of(obj, false)
}

// UpdateScale replaces the Scale of an object; see Update.
func (res *Resource) UpdateScale(ctx context.Context, w *Write, decode func() (runtime.Object, error)) (Result, error) {
	v := asScale{res, res.version(w)}
	u := &updating{Write: w, verb: "update"}
	u.change = func(old runtime.Object) (runtime.Object, error) {
		obj, err := decode()
		if err != nil {
			return nil, err
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if err := res.matchNamespace(w, m); err != nil {
			return nil, err
		}
		if err := checkName(w, m); err != nil {
			return nil, err
		}
		return v.track(u, old, obj), nil
	}
	// A body that does not fit the path is refused before the object is looked for.
	if first, err := decode(); err != nil {
		return Result{}, err
	} else if m, err := meta.Accessor(first); err == nil {
		if err := res.matchNamespace(w, m); err != nil {
			return Result{}, err
		}
		if err := checkName(w, m); err != nil {
			return Result{}, err
		}
	}
	return res.updateScale(ctx, u)
}

// updateScale runs a change of an object's Scale as an update of the object. The answer is the Scale.
func (res *Resource) updateScale(ctx context.Context, u *updating) (Result, error) {
	v := asScale{res, res.version(u.Write)}
	changeScale := u.change
	u.create = false
	u.seen = func(obj runtime.Object) (runtime.Object, error) { return v.of(obj, false) }
	u.change = func(old runtime.Object) (runtime.Object, error) {
		before, err := v.of(old, true)
		if err != nil {
			return nil, err
		}
		after, err := changeScale(before)
		if err != nil {
			return nil, err
		}
		if err := res.mutate(ctx, res.attributes(u.Write, admission.Update, after, before)); err != nil {
			return nil, err
		}
		return v.put(u, old, after.(*autoscalingv1.Scale))
	}
	result, err := res.update(ctx, u)
	if err != nil {
		return Result{}, err
	}
	obj, err := result.Shared()
	if err != nil {
		return Result{}, err
	}
	scale, err := v.of(obj, false)
	return Result{Object: scale}, err
}

// put makes the object that a Scale asks for.
func (v asScale) put(u *updating, old runtime.Object, scale *autoscalingv1.Scale) (runtime.Object, error) {
	// Custom resources are validated as a whole, and say where in them the replicas are.
	if errs := validateScale(scale); len(errs) > 0 && !v.res.Kind.Custom {
		return nil, invalid(scaleKind.GVK.GroupKind(), u.Name, errs)
	}
	obj := old.DeepCopyObject()
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if scale.UID != "" && scale.UID != m.GetUID() {
		return nil, apierrors.NewConflict(v.res.groupResource(u.Write), scale.Name,
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, m.GetUID()))
	}
	entries, err := v.fieldsOf(m).ToParent(scale.ManagedFields)
	if err != nil {
		return nil, err
	}
	m.SetManagedFields(entries)
	if scale.ResourceVersion != "" {
		m.SetResourceVersion(scale.ResourceVersion)
	}
	v.door().Set(obj, scale.Spec.Replicas)
	return obj, nil
}

func validateScale(scale *autoscalingv1.Scale) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&scale.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if scale.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, apivalidation.IsNegativeErrorMsg))
	}
	return errs
}

// ScaleTarget is what the body of a PUT of a Scale is decoded into.
func ScaleTarget() wire.Target { return wire.TargetOf(&scaleKind.Served[0]) }
