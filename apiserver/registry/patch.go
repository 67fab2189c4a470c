package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// maxJSONPatchOperations bounds what one JSON patch may do.
const maxJSONPatchOperations = 10000

// Patch is the body of a PATCH.
type Patch struct {
	Type types.PatchType
	Body []byte
	// Force takes fields from their owners in an apply.
	Force bool
	// Validation is Ignore, Warn or Strict.
	Validation string
}

// IsApply says that the patch is a server-side apply.
func (p *Patch) IsApply() bool { return p.Type == types.ApplyYAMLPatchType }

func (p *Patch) strict() bool { return p.Validation != metav1.FieldValidationIgnore }

// Check refuses bodies that no object could be patched with.
func (p *Patch) Check() error {
	if p.IsApply() {
		if _, err := utilyaml.ToJSON(p.Body); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("error encoding patch: %v", err))
		}
		return nil
	}
	if !json.Valid(p.Body) {
		return apierrors.NewBadRequest("invalid JSON patch")
	}
	return nil
}

// Patch changes an object by a patch. An apply makes the object where there is none.
func (res *Resource) Patch(ctx context.Context, w *Write, p *Patch) (Result, error) {
	u := &updating{Write: w, verb: "patch", door: res.door(w), create: p.IsApply()}
	if p.IsApply() {
		u.verb = "apply"
	}
	seen := res.viewOf(w)
	u.change = func(old runtime.Object) (runtime.Object, error) {
		obj, err := p.change(ctx, u, seen, old)
		if err != nil {
			return nil, err
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if old == nil && m.GetUID() != "" {
			return nil, apierrors.NewConflict(res.groupResource(w), w.Name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", m.GetUID()))
		}
		if err := res.matchNamespace(w, m); err != nil {
			return nil, err
		}
		return obj, checkName(w, m)
	}
	if w.Subresource == "scale" {
		return res.updateScale(ctx, u)
	}
	return res.update(ctx, u)
}

// view is how a request sees an object: as itself in one of its versions, or as something else (its Scale).
type view interface {
	// target is what JSON is decoded into.
	target() wire.Target
	// encode is the object as JSON with a line break, in the client's version.
	encode(obj runtime.Object) ([]byte, error)
	// versioned is the object in the client's version.
	versioned(obj runtime.Object) (runtime.Object, error)
	// statusAlone says that only metadata and status of what was decoded will count (see kinds.UpdateDoor).
	statusAlone() bool
	// hub turns what was decoded into the type that is written, defaulted.
	hub(obj runtime.Object) (runtime.Object, error)
	// empty is a new object.
	empty() runtime.Object
	// track and apply record who set what.
	track(u *updating, old, obj runtime.Object) runtime.Object
	apply(live runtime.Object, config *unstructured.Unstructured, manager string, force bool) (runtime.Object, error)
}

// change applies the patch to what is there; old is nil if there is nothing.
func (p *Patch) change(ctx context.Context, u *updating, v view, old runtime.Object) (runtime.Object, error) {
	if p.IsApply() {
		if old == nil {
			old = v.empty()
		}
		return p.apply(ctx, u, v, old)
	}
	obj := p.partial(v, old)
	var err error
	switch {
	case obj != nil:
	case p.Type == types.StrategicMergePatchType:
		obj, err = p.strategic(ctx, v, old)
	default:
		obj, err = p.plain(ctx, v, old)
	}
	if err != nil {
		return nil, err
	}
	if obj, err = v.hub(obj); err != nil {
		return nil, err
	}
	return v.track(u, old, obj), nil
}

// plain applies a JSON patch or a JSON merge patch.
func (p *Patch) plain(ctx context.Context, v view, old runtime.Object) (runtime.Object, error) {
	current, err := v.encode(old)
	if err != nil {
		return nil, err
	}
	patched, found, err := p.patchJSON(current)
	if err != nil {
		return nil, err
	}
	obj, more, err := wire.DecodePatched(patched, v.target(), p.strict())
	if err != nil {
		return nil, invalidPatch(string(patched), err.Error())
	}
	return obj, p.report(ctx, append(found, more...), func() string { return string(patched) })
}

func (p *Patch) patchJSON(current []byte) (patched []byte, found []error, err error) {
	if p.Type == types.MergePatchType {
		if p.strict() {
			into := map[string]any{}
			if found, err = kjson.UnmarshalStrict(p.Body, &into); err != nil {
				return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
			}
		}
		patched, err = jsonpatch.MergePatch(current, p.Body)
		if err == jsonpatch.ErrBadJSONPatch {
			err = apierrors.NewBadRequest(err.Error())
		}
		return patched, found, err
	}
	if p.strict() {
		var into []jsonPatchOperation
		if found, err = kjson.UnmarshalStrict(p.Body, &into); err != nil {
			// The message names a Go type, which clients have come to know by upstream's name.
			text := strings.ReplaceAll(err.Error(), "registry.jsonPatchOperation", "handlers.jsonPatchOp")
			return nil, nil, apierrors.NewBadRequest("error decoding patch: " + text)
		}
		for i := range found {
			found[i] = fmt.Errorf("json patch %v", found[i])
		}
	}
	operations, err := jsonpatch.DecodePatch(p.Body)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	if len(operations) > maxJSONPatchOperations {
		return nil, nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxJSONPatchOperations, len(operations)))
	}
	if patched, err = operations.Apply(current); err != nil {
		return nil, nil, unprocessable(err)
	}
	return patched, found, nil
}

// jsonPatchOperation is here for strict decoding alone.
type jsonPatchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

// strategic applies a strategic merge patch.
func (p *Patch) strategic(ctx context.Context, v view, old runtime.Object) (runtime.Object, error) {
	current, err := v.versioned(old)
	if err != nil {
		return nil, err
	}
	original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(current)
	if err != nil {
		return nil, err
	}
	patch := map[string]any{}
	var found []error
	if p.strict() {
		found, err = kjson.UnmarshalStrict(p.Body, &patch)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(p.Body, &patch)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	target := v.target()
	obj := target.New()
	// The merge changes the maps it is given, and the messages show the patch as it is then.
	merged, err := strategicpatch.StrategicMergeMapPatch(original, patch, obj)
	if err != nil {
		return nil, strategicError(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, obj, p.strict()); err != nil {
		strict, isStrict := runtime.AsStrictDecodingError(err)
		if !isStrict {
			return nil, invalidPatch(fmt.Sprintf("%+v", patch), err.Error())
		}
		found = append(found, strict.Errors()...)
	}
	obj.GetObjectKind().SetGroupVersionKind(target.GVK)
	return obj, p.report(ctx, found, func() string { return fmt.Sprintf("%+v", patch) })
}

// report warns of, or refuses for, what strict decoding found.
func (p *Patch) report(ctx context.Context, found []error, value func() string) error {
	if len(found) == 0 {
		return nil
	}
	if p.Validation == metav1.FieldValidationStrict {
		return invalidPatch(value(), runtime.NewStrictDecodingError(found).Error())
	}
	for _, text := range wire.StrictWarnings(found) {
		request.Warn(ctx, text)
	}
	return nil
}

func (p *Patch) apply(ctx context.Context, u *updating, v view, live runtime.Object) (runtime.Object, error) {
	config := &unstructured.Unstructured{Object: map[string]any{}}
	// This Unmarshal tells whole numbers from others, which unstructured objects do too.
	if err := utilyaml.Unmarshal(p.Body, &config.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	obj, err := v.apply(live, config, u.Manager, p.Force)
	if err != nil {
		return nil, err
	}
	if p.strict() {
		if err := yaml.UnmarshalStrict(p.Body, &map[string]any{}); err != nil {
			if p.Validation == metav1.FieldValidationStrict {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", err))
			}
			for _, text := range wire.StrictWarnings([]error{err}) {
				request.Warn(ctx, text)
			}
		}
	}
	return obj, nil
}

func invalidPatch(value, message string) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), value, message)})
}

func unprocessable(err error) error {
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

func strategicError(err error) error {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return apierrors.NewBadRequest(err.Error())
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return unprocessable(err)
	}
	return err
}
