package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	admissionapi "k8s.io/api/admission/v1"
	admissionbeta "k8s.io/api/admission/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/match"
	"github.com/skiff-project/skiff/apiserver/callout"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

// callError says that a webhook could not be asked, or that its answer is not one. The failure policy applies to it.
type callError struct {
	webhook string
	err     error
}

// Error is in upstream's words, which tests of users' webhooks look for.
func (e *callError) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.webhook, e.err)
}

// Unwrap shows the cause.
func (e *callError) Unwrap() error { return e.err }

var errGone = errors.New("the webhook's configuration was deleted")

// maxAnswer bounds what a webhook may answer: an object with a patch of it.
const maxAnswer = 8 << 20

// ask sends a review of a write to one webhook. object and old are in version. An error is a callError or a refusal.
func (h *Hooks) ask(ctx context.Context, hook *hook, a *admission.Attributes, version *kinds.Version, object, old runtime.Object, mutates bool) (*admissionapi.AdmissionResponse, error) {
	if a.DryRun && !hook.pure {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", hook.name))
	}
	review := match.Request(a, version)
	review.UID = uuid.NewUUID()
	review.Object, review.OldObject = runtime.RawExtension{Object: object}, runtime.RawExtension{Object: old}
	ctx, cancel := context.WithTimeout(ctx, hook.timeout)
	defer cancel()
	answer, err := hook.send(ctx, h, review)
	if err == nil {
		err = check(answer, review.UID, mutates)
		if err != nil {
			err = fmt.Errorf("received invalid webhook response: %w", err)
		}
	} else {
		err = fmt.Errorf("failed to call webhook: %w", err)
	}
	if err != nil {
		return nil, &callError{hook.name, err}
	}
	for _, w := range answer.Response.Warnings {
		request.Warn(ctx, w)
	}
	if !answer.Response.Allowed {
		return answer.Response, refusal(hook.name, answer.Response.Result)
	}
	return answer.Response, nil
}

// annotate copies what a webhook wants to see in the audit log.
func annotate(a *admission.Attributes, hook *hook, r *admissionapi.AdmissionResponse) {
	if r != nil {
		for key, value := range r.AuditAnnotations {
			a.Annotate(hook.name+"/"+key, value)
		}
	}
}

// send posts a review in the first version that the webhook knows.
func (hook *hook) send(ctx context.Context, h *Hooks, r *admissionapi.AdmissionRequest) (*admissionapi.AdmissionReview, error) {
	hook.once.Do(func() { hook.caller, hook.callerErr = hook.connect(h.Dial) })
	if hook.callerErr != nil {
		return nil, hook.callerErr
	}
	for _, version := range hook.versions {
		gv := schema.GroupVersion{Group: admissionapi.GroupName, Version: version}
		// The two versions have the same fields.
		if gv != admissionapi.SchemeGroupVersion && gv != admissionbeta.SchemeGroupVersion {
			continue
		}
		review := &admissionapi.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: gv.String(), Kind: "AdmissionReview"}, Request: r}
		answer := &admissionapi.AdmissionReview{}
		err := hook.caller.Post(ctx, review, answer, maxAnswer)
		if err == nil && gv == admissionbeta.SchemeGroupVersion {
			loosen(answer, r.UID)
		}
		return answer, err
	}
	return nil, errors.New("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
}

// loosen brings an answer of v1beta1, of which less was asked, to what v1 wants.
func loosen(answer *admissionapi.AdmissionReview, uid types.UID) {
	answer.SetGroupVersionKind(admissionapi.SchemeGroupVersion.WithKind("AdmissionReview"))
	if answer.Response == nil {
		return
	}
	answer.Response.UID = uid
	answer.Response.PatchType = nil
	if len(answer.Response.Patch) > 0 {
		patch := admissionapi.PatchTypeJSONPatch
		answer.Response.PatchType = &patch
	}
}

// connect makes the client of a webhook.
func (hook *hook) connect(dial callout.Dialer) (*callout.Client, error) {
	target := callout.Target{URL: hook.client.URL, CABundle: hook.client.CABundle}
	if s := hook.client.Service; s != nil {
		target.Namespace, target.Service, target.Path, target.Port = s.Namespace, s.Name, s.Path, s.Port
	}
	return callout.New(target, dial)
}

// check says what is wrong with an answer.
func check(answer *admissionapi.AdmissionReview, uid types.UID, mutates bool) error {
	r := answer.Response
	switch gvk := admissionapi.SchemeGroupVersion.WithKind("AdmissionReview"); {
	case r == nil:
		return errors.New("webhook response was absent")
	case r.UID != uid:
		return fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
	case answer.GroupVersionKind() != gvk:
		return fmt.Errorf("expected webhook response of %v, got %v", gvk, answer.GroupVersionKind())
	case !mutates && len(r.Patch) > 0:
		return errors.New("validating webhook may not return response.patch")
	case !mutates && r.PatchType != nil:
		return errors.New("validating webhook may not return response.patchType")
	case len(r.Patch) > 0 && r.PatchType == nil:
		return errors.New("webhook returned response.patch but not response.patchType")
	case len(r.Patch) == 0 && r.PatchType != nil:
		return errors.New("webhook returned response.patchType but not response.patch")
	case r.PatchType != nil && *r.PatchType == "":
		return fmt.Errorf("webhook returned invalid response.patchType of %q", *r.PatchType)
	}
	return nil
}

// refusal is the Status of a write that a webhook refuses, made of the one that it sent.
func refusal(webhook string, sent *metav1.Status) error {
	status := metav1.Status{}
	if sent != nil {
		status = *sent.DeepCopy()
	}
	if status.Code < http.StatusBadRequest {
		status.Code = http.StatusBadRequest
	}
	if status.Status == "" || status.Status == metav1.StatusSuccess {
		status.Status = metav1.StatusFailure
	}
	denied := fmt.Sprintf("admission webhook %q denied the request", webhook)
	switch {
	case status.Message != "":
		status.Message = denied + ": " + status.Message
	case status.Reason != "":
		status.Message = denied + ": " + string(status.Reason)
	default:
		status.Message = denied + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// passes says whether a webhook's failure lets the write go on; the error is what the client is told otherwise.
func (h *Hooks) passes(ctx context.Context, hook *hook, err error) error {
	var failed *callError
	if !errors.As(err, &failed) {
		return err
	}
	if !hook.failOpen {
		return apierrors.NewInternalError(err)
	}
	if ctx.Err() != nil {
		return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
	}
	h.Log.Warn("a webhook failed and is ignored, as its policy says", "configuration", hook.configuration, "err", err)
	return nil
}
