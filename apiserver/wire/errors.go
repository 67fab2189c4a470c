package wire

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

func failure(code int, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	}}
}

func notAcceptable(offer Offer, stream bool) error {
	return failure(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"only the following media types are accepted: "+strings.Join(offer.types(stream), ", "))
}

func unsupportedMediaType(accepted []string) error {
	return failure(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: "+strings.Join(accepted, ", "))
}

// otherKind refuses a custom resource that says it is of another kind: upstream finds that when it validates it.
func otherKind(obj runtime.Object, kind *kinds.Kind) error {
	name := ""
	if m, err := meta.Accessor(obj); err == nil {
		name = m.GetName()
	}
	said := obj.GetObjectKind().GroupVersionKind()
	return apierrors.NewInvalid(said.GroupKind(), name, field.ErrorList{field.Invalid(field.NewPath("kind"), said.Kind, "must be "+kind.GVK.Kind)})
}

// UnsupportedPatchType refuses a PATCH whose Content-Type is none of accepted.
func UnsupportedPatchType(accepted []string) error { return unsupportedMediaType(accepted) }

// NotAcceptable refuses a transformation that the object cannot take.
func NotAcceptable(message string) error {
	return failure(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable, message)
}

// StatusOf is the Status that an error is answered with. Errors that carry none become a 500, and are logged: they are
// mistakes of ours, or words of a library that upstream passes on in the same way.
func StatusOf(err error) *metav1.Status {
	var carrier apierrors.APIStatus
	if errors.As(err, &carrier) {
		status := carrier.Status()
		if status.Status == "" {
			status.Status = metav1.StatusFailure
		}
		if status.Code == 0 {
			status.Code = http.StatusInternalServerError
			if status.Status == metav1.StatusSuccess {
				status.Code = http.StatusOK
			}
		}
		status.Kind, status.APIVersion = "Status", "v1"
		return &status
	}
	status := &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonUnknown, Message: err.Error(),
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		timeout := apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).Status()
		timeout.Kind, timeout.APIVersion = "Status", "v1"
		return &timeout
	}
	slog.Warn("request failed with an error that has no status", "err", err)
	return status
}

// WriteError answers with err's Status, in the format that the client accepts.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	status := StatusOf(err)
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	accepted, err := Negotiate(r, Plain)
	if err != nil {
		// No format that the client accepts: JSON is better than nothing.
		body, _ := json.MarshalIndent(status, "", "  ")
		writeBody(w, r, int(status.Code), TypeJSON, body)
		return
	}
	WriteObject(w, r, int(status.Code), accepted, status)
}
