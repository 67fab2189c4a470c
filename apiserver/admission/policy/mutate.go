package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/structpb"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apicel "k8s.io/apiserver/pkg/apis/cel"
	patching "k8s.io/apiserver/pkg/cel/mutation"
	"k8s.io/apiserver/pkg/cel/mutation/dynamic"
	kjson "sigs.k8s.io/json"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/match"
	"github.com/skiff-project/skiff/apiserver/expression"
)

// mutation is one change that a policy makes.
type mutation struct {
	*expression.Program
	patchType admissionv1.PatchType
}

var (
	configurationType = types.NewObjectType("Object")
	patchListType     = cel.ListType(types.NewObjectType("JSONPatch"))
)

func (c *compiled) compileMutations(spec *admissionv1.MutatingAdmissionPolicySpec) {
	c.reinvocable = spec.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy
	scope := expression.Scope{Params: spec.ParamKind != nil, Authorizer: true, Mutation: true}
	for _, m := range spec.Mutations {
		switch {
		case m.PatchType == admissionv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			c.mutations = append(c.mutations, mutation{c.compiler.Compile(m.ApplyConfiguration.Expression, scope, configurationType), m.PatchType})
		case m.PatchType == admissionv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			c.mutations = append(c.mutations, mutation{c.compiler.Compile(m.JSONPatch.Expression, scope, patchListType), m.PatchType})
		}
	}
}

// mutate applies the mutating policies, one after the other. In the second round only those that want to be applied
// again are, and only if something has changed since they were.
func (p *Policies) mutate(ctx context.Context, a *admission.Attributes) error {
	if match.Exempt(a) || a.Object == nil {
		return nil
	}
	apps, failed, err := p.find(ctx, &p.mutating, a)
	if err != nil || len(apps)+len(failed) == 0 {
		return err
	}
	rounds := admission.RoundsOf[string](a, "policies")
	for i := range apps {
		app := &apps[i]
		key := app.compiled.key + "/" + app.binding.key + "/" + nameOf(app.param)
		if !rounds.Due(a, key) {
			continue
		}
		changed, errs := p.apply(ctx, a, app)
		for _, err := range errs {
			failed = append(failed, failure{app.compiled, app.binding, err})
		}
		rounds.Asked(a, key, changed, app.reinvocable)
	}
	rounds.Left(a)
	return refuseMutation(a, failed)
}

func nameOf(obj runtime.Object) string {
	if obj == nil {
		return ""
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetNamespace() + "/" + m.GetName()
}

// refuseMutation is the refusal of a write for which a policy failed that does not ignore that.
func refuseMutation(a *admission.Attributes, failed []failure) error {
	var status *apierrors.StatusError
	for _, f := range failed {
		if f.policy.ignores {
			continue
		}
		message := fmt.Sprintf("policy %q denied request: %s", f.policy.name, f.err)
		if f.binding != nil {
			message = fmt.Sprintf("policy '%s' with binding '%s' denied request: %s", f.policy.name, f.binding.name, f.err)
		}
		if status == nil {
			status = admission.Forbidden(a, "admission request denied by policy")
			status.ErrStatus.Message = message
			status.ErrStatus.Reason = metav1.StatusReasonInvalid
		}
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	}
	if status == nil {
		return nil
	}
	return status
}

// apply makes the changes of one application, each on what the one before it left.
func (p *Policies) apply(ctx context.Context, a *admission.Attributes, app *application) (changed bool, errs []error) {
	in, err := p.input(a, app)
	if err != nil {
		return false, []error{err}
	}
	if meets, err := app.meets(ctx, in); err != nil {
		return false, []error{err}
	} else if !meets {
		return false, nil
	}
	for _, m := range app.mutations {
		patched, err := p.patch(ctx, app, m, in)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if apiequality.Semantic.DeepEqual(in.Object, patched) {
			continue
		}
		if err := a.Replace(app.version, patched); err != nil {
			return changed, append(errs, err)
		}
		changed = true
		if in.Object, err = a.In(app.version, a.Object); err != nil {
			return changed, append(errs, err)
		}
	}
	return changed, errs
}

// patch answers a changed copy of in.Object.
func (p *Policies) patch(ctx context.Context, app *application, m mutation, in expression.Input) (runtime.Object, error) {
	value, err := app.compiler.Start(ctx, in, apicel.RuntimeCELCostBudget).Eval(m.Program)
	if err != nil {
		return nil, err
	}
	if m.patchType == admissionv1.PatchTypeJSONPatch {
		return patchJSON(in.Object, value)
	}
	return p.merge(app, in.Object, value)
}

// patchJSON applies a list of JSONPatch values. A failed test operation leaves the object as it is.
func patchJSON(object runtime.Object, value ref.Val) (runtime.Object, error) {
	list, ok := value.(traits.Lister)
	if !ok {
		return nil, errors.New("type mismatch: JSONPatchType.expression should evaluate to array")
	}
	var patch jsonpatch.Patch
	for it := list.Iterator(); it.HasNext() == types.True; {
		native, err := it.Next().ConvertToNative(reflect.TypeFor[*patching.JSONPatchVal]())
		if err != nil {
			return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: %w", err)
		}
		operation, err := operationOf(native.(*patching.JSONPatchVal))
		if err != nil {
			return nil, err
		}
		patch = append(patch, operation)
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("failed to create JSON patch: %w", err)
	}
	text, err = patch.Apply(text)
	if errors.Is(err, jsonpatch.ErrTestFailed) {
		return object, nil
	}
	if err != nil {
		return nil, fmt.Errorf("JSON Patch: %w", err)
	}
	into := reflect.New(reflect.TypeOf(object).Elem()).Interface().(runtime.Object)
	strict, err := kjson.UnmarshalStrict(text, into)
	if err == nil {
		err = errors.Join(strict...)
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return into, nil
}

func operationOf(op *patching.JSONPatchVal) (jsonpatch.Operation, error) {
	text := func(s string) *json.RawMessage {
		raw := json.RawMessage(strconv.Quote(s))
		return &raw
	}
	out := jsonpatch.Operation{"op": text(op.Op), "path": text(op.Path)}
	if op.From != "" {
		out["from"] = text(op.From)
	}
	if op.Val == nil {
		return out, nil
	}
	if object, ok := op.Val.(*dynamic.ObjectVal); ok {
		if err := object.CheckTypeNamesMatchFieldPathNames(); err != nil {
			return nil, fmt.Errorf("type mismatch: %w", err)
		}
	}
	native, err := op.Val.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err == nil {
		var raw json.RawMessage
		if raw, err = json.Marshal(native); err == nil {
			out["value"] = &raw
			return out, nil
		}
	}
	return nil, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
}
