package oidc

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/util/version"
	apicel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// The variables of expressions.
const (
	claimsVariable = "claims"
	userVariable   = "user"
)

// environments are made when the first expression is compiled: that takes milliseconds and memory.
var environments = sync.OnceValues(func() (map[string]*cel.Env, error) {
	str := apicel.StringType
	list := apicel.NewListType(str, -1)
	field := func(name string, t *apicel.DeclType) *apicel.DeclField {
		return apicel.NewDeclField(name, t, false, nil, nil)
	}
	user := apicel.NewObjectType("kubernetes.UserInfo", map[string]*apicel.DeclField{
		"username": field("username", str), "uid": field("uid", str), "groups": field("groups", list),
		"extra": field("extra", apicel.NewMapType(str, list, -1)),
	})
	claims := apicel.NewMapType(str, apicel.AnyType, -1)
	out := map[string]*cel.Env{}
	for name, t := range map[string]*apicel.DeclType{claimsVariable: claims, userVariable: user} {
		set, err := environment.MustBaseEnvSet(version.MajorMinor(1, 37)).Extend(environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0),
			EnvOptions:        []cel.EnvOption{cel.Variable(name, t.CelType())}, DeclTypes: []*apicel.DeclType{t},
		})
		if err != nil {
			return nil, err
		}
		if out[name], err = set.Env(environment.StoredExpressions); err != nil {
			return nil, err
		}
	}
	return out, nil
})

// expression is compiled CEL.
type expression struct {
	text, variable string
	tree           *cel.Ast
	program        cel.Program
}

var (
	anyStrings = []*cel.Type{cel.StringType, cel.ListType(cel.StringType), cel.AnyType, cel.DynType, cel.ListType(cel.AnyType), cel.ListType(cel.DynType)}
	oneString  = []*cel.Type{cel.StringType, cel.AnyType, cel.DynType}
	truth      = []*cel.Type{cel.BoolType}
)

// compile also checks that the expression yields one of the types.
func compile(text, variable string, want []*cel.Type, kind string) (*expression, error) {
	envs, err := environments()
	if err != nil {
		return nil, err
	}
	tree, issues := envs[variable].Compile(text)
	if issues != nil && issues.Err() != nil {
		return nil, fmt.Errorf("compilation failed: %s", issues.String())
	}
	ok := false
	for _, t := range want {
		ok = ok || tree.OutputType().IsExactType(t)
	}
	if !ok {
		return nil, fmt.Errorf("must evaluate to %s", kind)
	}
	program, err := envs[variable].Program(tree, cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, fmt.Errorf("program instantiation failed: %w", err)
	}
	return &expression{text, variable, tree, program}, nil
}

func (e *expression) eval(ctx context.Context, value ref.Val) (ref.Val, error) {
	out, _, err := e.program.ContextEval(ctx, map[string]any{e.variable: value})
	if err != nil {
		return nil, fmt.Errorf("expression '%s' resulted in error: %w", e.text, err)
	}
	return out, nil
}

func (e *expression) evalString(ctx context.Context, value ref.Val) (string, error) {
	out, err := e.eval(ctx, value)
	if err != nil {
		return "", err
	}
	text, ok := out.(types.String)
	if !ok {
		return "", errors.New("claim expression must return a string")
	}
	return string(text), nil
}

var errNotStrings = errors.New("expression must return a string or a list of strings")

// evalStrings takes a string, a list of strings, or null. Empty strings count as absent.
func (e *expression) evalStrings(ctx context.Context, value ref.Val) ([]string, error) {
	result, err := e.eval(ctx, value)
	if err != nil {
		return nil, err
	}
	var out []string
	add := func(v ref.Val) bool {
		text, ok := v.(types.String)
		if ok && text != "" {
			out = append(out, string(text))
		}
		return ok
	}
	switch v := result.(type) {
	case types.Null:
	case types.String:
		add(v)
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			if !add(it.Next()) {
				return nil, errNotStrings
			}
		}
	default:
		return nil, errNotStrings
	}
	return out, nil
}

// require fails unless the expression is true.
func (e *expression) require(ctx context.Context, value ref.Val, message string) error {
	result, err := e.eval(ctx, value)
	switch {
	case err != nil:
		return err
	case result == types.True:
		return nil
	case message != "":
		return fmt.Errorf("validation expression '%s' failed: %s", e.text, message)
	}
	return fmt.Errorf("validation expression '%s' failed", e.text)
}

// selects says whether the expression reads a field of its variable, as claims.email or claims.?email.
func (e *expression) selects(field string) bool {
	found := false
	isVariable := func(x ast.Expr) bool { return x.Kind() == ast.IdentKind && x.AsIdent() == e.variable }
	ast.PostOrderVisit(e.tree.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		switch x.Kind() {
		case ast.SelectKind:
			s := x.AsSelect()
			found = found || s.FieldName() == field && isVariable(s.Operand())
		case ast.CallKind:
			c := x.AsCall()
			if c.FunctionName() == operators.OptSelect && len(c.Args()) == 2 && isVariable(c.Args()[0]) && c.Args()[1].Kind() == ast.LiteralKind {
				found = found || c.Args()[1].AsLiteral().Equal(types.String(field)) == types.True
			}
		}
	}))
	return found
}

// celValue makes decoded JSON a value of CEL whose names can be written as CEL has them: a.b as a__dot__b.
func celValue(v any) ref.Val { return escaped(types.DefaultTypeAdapter.NativeToValue(v)) }

func escaped(v ref.Val) ref.Val {
	switch v := v.(type) {
	case traits.Mapper:
		return escapedMap{v}
	case traits.Lister:
		return escapedList{v}
	}
	return v
}

type escapedMap struct{ traits.Mapper }

func (m escapedMap) Find(key ref.Val) (ref.Val, bool) {
	if name, ok := key.(types.String); ok {
		if plain, ok := apicel.Unescape(string(name)); ok {
			key = types.String(plain)
		}
	}
	v, ok := m.Mapper.Find(key)
	return escaped(v), ok
}

type escapedList struct{ traits.Lister }

func (l escapedList) Get(index ref.Val) ref.Val { return escaped(l.Lister.Get(index)) }
