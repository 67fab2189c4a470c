package extensions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/callout"
)

// webhookTimeout bounds one conversion, and webhookAnswer how much of an answer is read.
const (
	webhookTimeout = 30 * time.Second
	webhookAnswer  = 64 << 20
)

// webhooks is how Services are reached.
type webhooks struct{ dial callout.Dialer }

// webhook converts by asking somebody else (ConversionReview).
type webhook struct {
	versions []string
	client   *callout.Client
}

func newWebhook(crd *apiextensionsv1.CustomResourceDefinition, hooks webhooks) (*webhook, error) {
	spec := crd.Spec.Conversion.Webhook
	if spec == nil || spec.ClientConfig == nil {
		return nil, fmt.Errorf("%s: conversion names no webhook", crd.Name)
	}
	target := callout.Target{URL: spec.ClientConfig.URL, CABundle: spec.ClientConfig.CABundle}
	if s := spec.ClientConfig.Service; s != nil {
		target.Namespace, target.Service, target.Path, target.Port = s.Namespace, s.Name, s.Path, s.Port
	}
	client, err := callout.New(target, hooks.dial)
	if err != nil {
		return nil, fmt.Errorf("%s: conversion webhook: %w", crd.Name, err)
	}
	return &webhook{spec.ConversionReviewVersions, client}, nil
}

func (w *webhook) changes() bool { return true }

func (w *webhook) one(ctx context.Context, u *unstructured.Unstructured, to schema.GroupVersion) (*unstructured.Unstructured, error) {
	out, err := w.many(ctx, []*unstructured.Unstructured{u}, to)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (w *webhook) many(ctx context.Context, all []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, len(all))
	var asked []int
	for i, u := range all {
		switch {
		case u.GetAPIVersion() == to.String():
			out[i] = u
		case u.GetUID() == "" && u.GetName() == "" && u.GetGenerateName() == "":
			// A bookmark, or an object that is still to be filled.
			out[i], _ = renamed{}.one(ctx, u, to)
		default:
			asked = append(asked, i)
		}
	}
	if len(asked) == 0 {
		return out, nil
	}
	gvk := all[asked[0]].GroupVersionKind()
	objects := make([]runtime.RawExtension, len(asked))
	for i, at := range asked {
		raw, err := json.Marshal(all[at].Object)
		if err != nil {
			return nil, err
		}
		objects[i].Raw = raw
	}
	answers, err := w.ask(ctx, objects, to)
	if err != nil {
		return nil, fmt.Errorf("conversion webhook for %v failed: %w", gvk, err)
	}
	if len(answers) != len(asked) {
		return nil, fmt.Errorf("conversion webhook for %v returned %d objects, expected %d", gvk, len(answers), len(asked))
	}
	for i, at := range asked {
		if out[at], err = take(all[at], answers[i].Raw, to); err != nil {
			return nil, fmt.Errorf("conversion webhook for %v returned invalid converted object at index %d: %w", gvk, i, err)
		}
	}
	return out, nil
}

// take reads what a webhook made of an object.
func take(u *unstructured.Unstructured, raw []byte, to schema.GroupVersion) (*unstructured.Unstructured, error) {
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	if have := out.GroupVersionKind().GroupVersion(); have != to {
		return nil, fmt.Errorf("invalid groupVersion (expected %v, received %v)", to, have)
	}
	if have := out.GetKind(); have != u.GetKind() {
		return nil, fmt.Errorf("invalid kind (expected %v, received %v)", u.GetKind(), have)
	}
	if err := sameObject(u, out); err != nil {
		return nil, err
	}
	return out, restoreMetadata(u, out)
}

// ask sends objects to be converted.
func (w *webhook) ask(ctx context.Context, objects []runtime.RawExtension, to schema.GroupVersion) ([]runtime.RawExtension, error) {
	id := types.UID(uuid.NewString())
	for _, version := range w.versions {
		switch version {
		case "v1":
			return w.askV1(ctx, &apiextensionsv1.ConversionRequest{UID: id, DesiredAPIVersion: to.String(), Objects: objects})
		case "v1beta1":
			return w.askV1beta1(ctx, &apiextensionsv1beta1.ConversionRequest{UID: id, DesiredAPIVersion: to.String(), Objects: objects})
		}
	}
	return nil, errors.New("no supported conversion review versions")
}

func (w *webhook) askV1(ctx context.Context, request *apiextensionsv1.ConversionRequest) ([]runtime.RawExtension, error) {
	want := apiextensionsv1.SchemeGroupVersion.WithKind("ConversionReview")
	review := &apiextensionsv1.ConversionReview{Request: request, Response: &apiextensionsv1.ConversionResponse{}}
	review.SetGroupVersionKind(want)
	answer := &apiextensionsv1.ConversionReview{}
	if err := w.post(ctx, review, answer); err != nil {
		return nil, err
	}
	switch have := answer.GroupVersionKind(); {
	case have != want:
		return nil, fmt.Errorf("expected webhook response of %v, got %v", want, have)
	case answer.Response == nil:
		return nil, errors.New("no response provided")
	case answer.Response.UID != request.UID:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", request.UID, answer.Response.UID)
	}
	return answer.Response.ConvertedObjects, failed(&answer.Response.Result)
}

func (w *webhook) askV1beta1(ctx context.Context, request *apiextensionsv1beta1.ConversionRequest) ([]runtime.RawExtension, error) {
	review := &apiextensionsv1beta1.ConversionReview{Request: request, Response: &apiextensionsv1beta1.ConversionResponse{}}
	review.SetGroupVersionKind(apiextensionsv1beta1.SchemeGroupVersion.WithKind("ConversionReview"))
	answer := &apiextensionsv1beta1.ConversionReview{}
	if err := w.post(ctx, review, answer); err != nil {
		return nil, err
	}
	if answer.Response == nil {
		return nil, errors.New("no response provided")
	}
	return answer.Response.ConvertedObjects, failed(&answer.Response.Result)
}

func failed(result *metav1.Status) error {
	switch {
	case result.Status == metav1.StatusSuccess:
		return nil
	case result.Message != "":
		return errors.New(result.Message)
	}
	return fmt.Errorf("response.result.status was '%s', not 'Success'", result.Status)
}

func (w *webhook) post(ctx context.Context, review, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	return w.client.Post(ctx, review, answer, webhookAnswer)
}

// sameObject refuses an answer that is about something else.
func sameObject(in, out *unstructured.Unstructured) error {
	for _, is := range []struct{ what, want, have string }{
		{"kind", in.GetKind(), out.GetKind()}, {"name", in.GetName(), out.GetName()},
		{"namespace", in.GetNamespace(), out.GetNamespace()}, {"UID", string(in.GetUID()), string(out.GetUID())},
	} {
		if is.want != is.have {
			return fmt.Errorf("must have the same %s: %v != %v", is.what, is.want, is.have)
		}
	}
	return nil
}

// restoreMetadata undoes what a webhook did to the metadata, apart from labels and annotations.
func restoreMetadata(in, out *unstructured.Unstructured) error {
	raw, ok := out.Object["metadata"]
	if !ok {
		return errors.New("missing metadata in converted object")
	}
	answered, ok := raw.(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata of type %T in converted object", raw)
	}
	kept := map[string]any{}
	if meta, ok := in.Object["metadata"].(map[string]any); ok {
		kept = runtime.DeepCopyJSON(meta)
	}
	out.Object["metadata"] = kept
	for _, name := range []string{"labels", "annotations"} {
		value := answered[name]
		if value == nil {
			delete(kept, name)
			continue
		}
		texts, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("invalid metadata.%s of type %T in converted object", name, value)
		}
		if err := checkTexts(name, texts); err != nil {
			return err
		}
		kept[name] = texts
	}
	return nil
}

func checkTexts(name string, texts map[string]any) error {
	plain := make(map[string]string, len(texts))
	for key, value := range texts {
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("metadata.%s[%s] must be a string, but is %T in converted object", name, key, value)
		}
		plain[key] = text
	}
	if name == "labels" {
		return metav1validation.ValidateLabels(plain, field.NewPath("metadata", "labels")).ToAggregate()
	}
	return apivalidation.ValidateAnnotations(plain, field.NewPath("metadata", "annotation")).ToAggregate()
}
