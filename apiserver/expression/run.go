package expression

import (
	"context"
	"fmt"
	"math"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kcel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/lazy"
)

// Input is what expressions are run on.
type Input struct {
	// Object and OldObject may be nil, and so may Params.
	Object, OldObject, Params runtime.Object
	// Request and Namespace are shown by the names of their JSON fields; a nil Namespace is null.
	Request, Namespace any
	// Authorizer and RequestResource may be nil where no expression may use them.
	Authorizer, RequestResource ref.Val
}

// Run evaluates the expressions of one policy or webhook on one input, and counts what they cost together.
type Run struct {
	ctx       context.Context
	compiler  *Compiler
	budget    int64
	values    map[string]any
	variables *lazy.MapValue
}

// Start prepares a run. budget is what all its expressions may cost (upstream's limits are in k8s.io/apiserver/pkg/apis/cel).
func (c *Compiler) Start(ctx context.Context, in Input, budget int64) *Run {
	r := &Run{ctx: ctx, compiler: c, budget: budget, values: map[string]any{
		Object: Value(in.Object), OldObject: Value(in.OldObject), Params: Value(in.Params),
		Request: common.SchemalessTypedToVal(in.Request), NamespaceObject: types.NullValue,
	}}
	if in.Namespace != nil {
		r.values[NamespaceObject] = common.SchemalessTypedToVal(in.Namespace)
	}
	if in.Authorizer != nil {
		r.values[Authorizer], r.values[RequestResource] = in.Authorizer, in.RequestResource
	}
	if c.declared != nil {
		r.variables = lazy.NewMapValue(c.declared)
		for name, p := range c.variables {
			r.variables.Append(name, func(*lazy.MapValue) ref.Val { return r.variable(name, p) })
		}
	}
	return r
}

// Value is an object as expressions see it: by the names of its JSON fields, and null if it is nil.
func Value(obj runtime.Object) ref.Val {
	switch o := obj.(type) {
	case nil:
		return types.NullValue
	case *unstructured.Unstructured:
		return types.DefaultTypeAdapter.NativeToValue(o.Object)
	}
	return common.SchemalessTypedToVal(obj)
}

// ResolveName implements interpreter.Activation.
func (r *Run) ResolveName(name string) (any, bool) {
	if name == Variables && r.variables != nil {
		return r.variables, true
	}
	v, ok := r.values[name]
	return v, ok
}

// Parent implements interpreter.Activation.
func (r *Run) Parent() interpreter.Activation { return nil }

// Eval runs one expression. ErrBudget says that this and all later ones of the run must be given up.
func (r *Run) Eval(p *Program) (ref.Val, error) {
	if p.Err != nil {
		return nil, &kcel.Error{Type: kcel.ErrorTypeInvalid, Detail: fmt.Sprintf("compilation error: %v", p.Err), Cause: p.Err}
	}
	value, details, err := p.program.ContextEval(r.ctx, r)
	if details == nil || details.ActualCost() == nil {
		r.budget = -1
		return nil, &kcel.Error{Type: kcel.ErrorTypeInternal, Detail: fmt.Sprintf("runtime cost could not be calculated for expression: %v, no further expression will be run", p.Text)}
	}
	if !r.pay(*details.ActualCost()) {
		return nil, ErrBudget
	}
	if err != nil {
		return nil, &kcel.Error{Type: kcel.ErrorTypeInvalid, Detail: fmt.Sprintf("expression '%v' resulted in error: %v", p.Text, err)}
	}
	return value, nil
}

// ErrBudget says that the expressions of a run cost too much together.
var ErrBudget = &kcel.Error{
	Type: kcel.ErrorTypeInvalid, Cause: kcel.ErrOutOfBudget,
	Detail: "validation failed due to running out of cost budget, no further validation rules will be run",
}

func (r *Run) pay(cost uint64) bool {
	if r.budget < 0 || cost > math.MaxInt64 || int64(cost) > r.budget {
		r.budget = -1
		return false
	}
	r.budget -= int64(cost)
	return true
}

// variable evaluates one when it is first used.
func (r *Run) variable(name string, p *Program) ref.Val {
	if p.Err != nil {
		return types.NewErr("composited variable %q fails to compile: %v", name, p.Err)
	}
	value, details, err := p.program.ContextEval(r.ctx, r)
	if details == nil || details.ActualCost() == nil {
		return types.NewErr("unable to calculate cost of variable %q", name)
	}
	if !r.pay(*details.ActualCost()) {
		return types.NewErr("composited variable %q fails to evaluate: %v", name, ErrBudget)
	}
	if err != nil {
		return types.NewErr("composited variable %q fails to evaluate: %v", name, err)
	}
	return value
}
