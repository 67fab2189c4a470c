package routes

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// body reads the request's body in whatever format it is in.
func (c *call) body(offer wire.Offer) (wire.Body, func(), error) {
	format, err := wire.InputFormat(c.r, offer)
	if err != nil {
		return wire.Body{}, nil, err
	}
	data, release, err := wire.ReadBody(c.r)
	return wire.Body{Data: data, Format: format}, release, err
}

// decode reads an object from a body. allowed are the versions that it may be in, the first being the path's.
func (c *call) decode(b wire.Body, t wire.Target, validation string, allowed ...schema.GroupVersion) (runtime.Object, error) {
	b.Strict = validation != metav1.FieldValidationIgnore
	obj, gvk, found, err := wire.Decode(b, t)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		if validation == metav1.FieldValidationStrict {
			return nil, wire.StrictError(gvk, t.GVK.Kind, found)
		}
		for _, text := range wire.StrictWarnings(found) {
			request.Warn(c.r.Context(), text)
		}
	}
	if gv := gvk.GroupVersion(); gv != t.GVK.GroupVersion() && !slices.Contains(allowed, gv) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", gv, t.GVK.GroupVersion()))
	}
	return obj, nil
}

// decodeHub reads an object of the path's kind, and makes it one of the hub type with defaults.
func (c *call) decodeHub(b wire.Body, validation string) (runtime.Object, error) {
	obj, err := c.decode(b, wire.TargetOf(c.version), validation)
	if err != nil {
		return nil, err
	}
	if obj, err = c.res.Codec.ToHub(obj); err != nil {
		switch status := apierrors.APIStatus(nil); {
		case errors.As(err, &status):
			return nil, err
		case c.res.Kind.Custom:
			// Somebody else was asked to convert it.
			return nil, apierrors.NewInternalError(err)
		}
		return nil, apierrors.NewBadRequest(err.Error())
	}
	c.res.Kind.Default(obj)
	return obj, nil
}

func (c *call) create() {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	body, release, err := c.body(c.offer())
	if err != nil {
		c.fail(err)
		return
	}
	defer release()
	opts, err := c.createOptions()
	if err != nil {
		c.fail(err)
		return
	}
	obj, err := c.decodeHub(body, validationOf(opts.FieldValidation))
	if err != nil {
		c.fail(err)
		return
	}
	w := c.write()
	w.Options, w.DryRun, w.Manager = opts, len(opts.DryRun) > 0, manager(opts.FieldManager, c.r)
	if c.res.Kind.Virtual {
		answer, err := c.res.Ask(c.r.Context(), w, obj)
		c.answerPost(accepted, answer, err)
		return
	}
	w.Optimistic = true
	result, err := c.res.Create(c.r.Context(), w, obj)
	if errors.Is(err, storage.ErrMoved) {
		w.Optimistic = false // from the body once more, asking etcd first
		if obj, err = c.decodeHub(body, validationOf(opts.FieldValidation)); err == nil {
			result, err = c.res.Create(c.r.Context(), w, obj)
		}
	}
	if err != nil {
		c.fail(err)
		return
	}
	c.answer(http.StatusCreated, accepted, result)
}

// post answers a POST below an object.
func (c *call) post() {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	body, release, err := c.body(c.offer())
	if err != nil {
		c.fail(err)
		return
	}
	defer release()
	opts, err := c.createOptions()
	if err != nil {
		c.fail(err)
		return
	}
	door := c.sub.Create
	gvk := door.New().GetObjectKind().GroupVersionKind()
	if gvk.Empty() {
		gvk = c.sub.GVK
	}
	target := wire.Target{GVK: gvk, New: door.New, Internal: wire.InternalName(gvk)}
	obj, err := c.decode(body, target, validationOf(opts.FieldValidation), wire.SameLayout(gvk)...)
	if err != nil {
		c.fail(err)
		return
	}
	if obj, err = wire.Relayout(obj, door.New, gvk); err != nil {
		c.fail(apierrors.NewBadRequest(err.Error()))
		return
	}
	if door.Default != nil {
		door.Default(obj)
	}
	w := c.write()
	w.Options, w.DryRun, w.Manager = opts, len(opts.DryRun) > 0, manager(opts.FieldManager, c.r)
	answer, err := c.res.Post(c.r.Context(), w, door, obj)
	c.answerPost(accepted, answer, err)
}

// answerPost writes the answer to a question (a review, a token, a binding).
func (c *call) answerPost(accepted wire.Accepted, obj runtime.Object, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	if status, ok := obj.(*metav1.Status); ok {
		status.Kind, status.APIVersion = "Status", "v1"
		if status.Code == 0 {
			status.Code = http.StatusCreated
		}
	}
	if gvk := obj.GetObjectKind(); gvk.GroupVersionKind().Empty() {
		gvk.SetGroupVersionKind(wire.KindOf(obj))
	}
	if accepted.As != nil {
		body, err := c.res.Codec.EncodeAs(c.r, accepted, c.gv(), obj)
		if err != nil {
			c.fail(err)
			return
		}
		wire.WriteEncoded(c.w, c.r, http.StatusCreated, accepted, body)
		return
	}
	wire.WriteObject(c.w, c.r, http.StatusCreated, accepted, obj)
}

func (c *call) update() {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	data, release, err := wire.ReadBody(c.r)
	if err != nil {
		c.fail(err)
		return
	}
	defer release()
	opts, err := c.updateOptions()
	if err != nil {
		c.fail(err)
		return
	}
	format, err := wire.InputFormat(c.r, c.offer())
	if err != nil {
		c.fail(err)
		return
	}
	body := wire.Body{Data: data, Format: format}
	w := c.write()
	w.Options, w.DryRun, w.Manager = opts, len(opts.DryRun) > 0, manager(opts.FieldManager, c.r)
	validation := validationOf(opts.FieldValidation)
	var result registry.Result
	if c.sub != nil && c.sub.Scale != nil {
		result, err = c.res.UpdateScale(c.r.Context(), w, func() (runtime.Object, error) {
			return c.decode(body, registry.ScaleTarget(), validation)
		})
	} else {
		result, err = c.res.Update(c.r.Context(), w, func() (runtime.Object, error) { return c.decodeHub(body, validation) })
	}
	c.answerUpdate(accepted, result, err)
}

func (c *call) answerUpdate(accepted wire.Accepted, result registry.Result, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	code := http.StatusOK
	if result.Created {
		code = http.StatusCreated
	}
	c.answer(code, accepted, result)
}

// The media types of patches.
var (
	patchTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}
	// Custom resources have no merge keys that a strategic merge could go by.
	customPatchTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}
)

// patchType refuses patches of unknown types, in the words of upstream's router or of its custom resources.
func (c *call) patchType() error {
	media := c.patchMedia()
	if c.res.Codec.Text {
		if !slices.Contains(customPatchTypes, media) {
			return wire.UnsupportedPatchType(customPatchTypes)
		}
		return nil
	}
	if !slices.Contains(patchTypes, media) {
		return apierrors.NewGenericServerResponse(http.StatusUnsupportedMediaType, "", schema.GroupResource{}, "", "415: Unsupported Media Type", 0, false)
	}
	return nil
}

func (c *call) patchMedia() string {
	media, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";")
	return media
}

func (c *call) patch() {
	accepted, ok := c.accepted()
	if !ok {
		return
	}
	data, release, err := wire.ReadBody(c.r)
	if err != nil {
		c.fail(err)
		return
	}
	defer release()
	opts := &metav1.PatchOptions{}
	if err := c.decodeQuery(opts); err != nil {
		c.fail(err)
		return
	}
	typ := types.PatchType(c.patchMedia())
	if err := invalidOptions("PatchOptions", metavalidation.ValidatePatchOptions(opts, typ)); err != nil {
		c.fail(err)
		return
	}
	// Patch libraries keep parts of what they are given.
	p := &registry.Patch{Type: typ, Body: bytes.Clone(data), Force: opts.Force != nil && *opts.Force, Validation: validationOf(opts.FieldValidation)}
	if err := p.Check(); err != nil {
		c.fail(err)
		return
	}
	w := c.write()
	w.DryRun, w.Manager = len(opts.DryRun) > 0, manager(opts.FieldManager, c.r)
	w.Options = &metav1.UpdateOptions{
		TypeMeta: metav1.TypeMeta{Kind: "UpdateOptions", APIVersion: metav1.SchemeGroupVersion.String()},
		DryRun:   opts.DryRun, FieldManager: opts.FieldManager, FieldValidation: opts.FieldValidation,
	}
	if p.IsApply() {
		w.Manager = opts.FieldManager
	}
	result, err := c.res.Patch(c.r.Context(), w, p)
	c.answerUpdate(accepted, result, err)
}
