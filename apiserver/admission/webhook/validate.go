package webhook

import (
	"context"
	"sync"

	admissionapi "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/match"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// validate asks the validating webhooks, all at once. The client is told of the first refusal in their order.
func (h *Hooks) validate(ctx context.Context, a *admission.Attributes) error {
	if match.Exempt(a) {
		return nil
	}
	hooks, err := h.hooks(ctx, validating)
	if err != nil || len(hooks) == 0 {
		return err
	}
	type call struct {
		*hook
		version *kinds.Version
		answer  *admissionapi.AdmissionResponse
		err     error
	}
	var calls []*call
	for _, hook := range hooks {
		version, err := h.wants(ctx, hook, a)
		if err != nil {
			return err
		}
		if version != nil {
			calls = append(calls, &call{hook: hook, version: version})
		}
	}
	type pair struct{ object, old runtime.Object }
	objects := map[schema.GroupVersionKind]pair{}
	for _, c := range calls {
		if _, ok := objects[c.version.GVK]; ok {
			continue
		}
		object, err := a.In(c.version, a.Object)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		old, err := a.In(c.version, a.Old)
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		objects[c.version.GVK] = pair{object, old}
	}
	var wg sync.WaitGroup
	for _, c := range calls {
		wg.Go(func() {
			p := objects[c.version.GVK]
			c.answer, c.err = h.ask(ctx, c.hook, a, c.version, p.object, p.old, false)
		})
	}
	wg.Wait()
	for _, c := range calls {
		annotate(a, c.hook, c.answer)
	}
	for _, c := range calls {
		if err := h.passes(ctx, c.hook, c.err); err != nil {
			return err
		}
	}
	return nil
}
