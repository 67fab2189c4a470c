package webhook

import (
	"context"
	"encoding/json"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionapi "k8s.io/api/admission/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kjson "sigs.k8s.io/json"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/match"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// mutate asks the mutating webhooks, one after the other. In the second round only those are asked that want to be asked
// again, and only if something has changed since they were.
func (h *Hooks) mutate(ctx context.Context, a *admission.Attributes) error {
	if match.Exempt(a) {
		return nil
	}
	hooks, err := h.hooks(ctx, mutating)
	if err != nil || len(hooks) == 0 {
		return err
	}
	rounds := admission.RoundsOf[*hook](a, "webhooks")
	for i, hook := range hooks {
		version, err := h.wants(ctx, hook, a)
		if err != nil {
			return err
		}
		if version == nil || !rounds.Due(a, hook) {
			continue
		}
		changed, err := h.mutateBy(ctx, hook, a, version)
		a.Annotate(fmt.Sprintf("mutation.webhook.admission.k8s.io/round_%d_index_%d", a.Round, i),
			fmt.Sprintf(`{"configuration":%q,"webhook":%q,"mutated":%v}`, hook.configuration, hook.name, changed))
		if err := h.passes(ctx, hook, err); err != nil {
			return err
		}
		rounds.Asked(a, hook, changed, hook.reinvocable)
	}
	rounds.Left(a)
	return nil
}

// mutateBy asks one webhook and applies its patch.
func (h *Hooks) mutateBy(ctx context.Context, hook *hook, a *admission.Attributes, version *kinds.Version) (changed bool, err error) {
	object, err := a.In(version, a.Object)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	old, err := a.In(version, a.Old)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	answer, err := h.ask(ctx, hook, a, version, object, old, true)
	annotate(a, hook, answer)
	if err != nil || len(answer.Patch) == 0 {
		return false, err
	}
	patch, err := jsonpatch.DecodePatch(answer.Patch)
	switch {
	case err != nil:
		return false, &callError{hook.name, fmt.Errorf("received undecodable patch in webhook response: %w", err)}
	case len(patch) == 0:
		return false, nil
	case *answer.PatchType != admissionapi.PatchTypeJSONPatch:
		return false, &callError{hook.name, fmt.Errorf("unsupported patch type %q", *answer.PatchType)}
	case object == nil:
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", hook.name))
	}
	text, err := json.Marshal(object)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if text, err = patch.Apply(text); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	into := a.NewIn(version)
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, into); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if apiequality.Semantic.DeepEqual(object, into) {
		return false, nil
	}
	return true, a.Replace(version, into)
}
