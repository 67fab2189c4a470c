package expression

import (
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/util/version"
	apicel "k8s.io/apiserver/pkg/apis/cel"
	kcel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// Scope says what an expression may refer to beside object, oldObject, request and namespaceObject.
type Scope struct {
	// Params: the object that a binding names.
	Params bool
	// Authorizer: authorizer and authorizer.requestResource.
	Authorizer bool
	// Mutation: the types Object{...} and JSONPatch{...}.
	Mutation bool
}

// Program is a compiled expression. If Err is not nil it does not compile, and running it answers Err.
type Program struct {
	Text    string
	Type    *cel.Type
	Err     *kcel.Error
	program cel.Program
}

// Compiler compiles the expressions of one policy or webhook, which may refer to the variables declared before them. It
// is not safe for concurrent use; its programs are.
type Compiler struct {
	// stored: what was accepted by an earlier version of the server still compiles.
	mode environment.Type
	// base has no variables; envs are made from it for each scope on first use.
	base      *environment.EnvSet
	envs      map[planKey]*cel.Env
	declared  *kcel.DeclType
	variables map[string]*Program
}

const variablesType = "kubernetes.variables"

// Base is the environment of v1.37: new expressions may use what the version before understands too, since a cluster
// may have servers of both, stored ones everything. It takes some milliseconds and megabytes, so it is made when the first
// expression is seen.
var Base = sync.OnceValue(func() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
})

// plain are the environments of expressions without variables, which all of them share.
var plain = struct {
	sync.Mutex
	envs map[planKey]*cel.Env
}{envs: map[planKey]*cel.Env{}}

type planKey struct {
	scope Scope
	mode  environment.Type
}

// NewCompiler makes a compiler of expressions without variables. stored is true for what is in etcd already: rules that
// only newly written expressions must keep do not bind it.
func NewCompiler(stored bool) *Compiler {
	c := &Compiler{}
	c.Stored(stored)
	return c
}

// Stored says whether the expressions compiled from now on are in etcd already; see NewCompiler. An update has both sorts.
func (c *Compiler) Stored(stored bool) {
	c.mode = environment.NewExpressions
	if stored {
		c.mode = environment.StoredExpressions
	}
}

// WithVariables makes a compiler of expressions that may refer to variables.NAME.
func WithVariables(stored bool) (*Compiler, error) {
	c := NewCompiler(stored)
	c.declared = kcel.NewObjectType(variablesType, map[string]*kcel.DeclField{})
	c.variables = map[string]*Program{}
	c.envs = map[planKey]*cel.Env{}
	var err error
	c.base, err = Base().Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        []cel.EnvOption{cel.Variable(Variables, c.declared.CelType())},
		DeclTypes:         []*kcel.DeclType{c.declared},
	})
	return c, err
}

// Variable compiles the expression of a variable and declares it to all expressions compiled from now on.
func (c *Compiler) Variable(name, text string, scope Scope) *Program {
	p := c.Compile(text, scope, cel.AnyType)
	c.declared.Fields[name] = kcel.NewDeclField(name, declared(p.Type), true, nil, nil)
	c.variables[name] = p
	return p
}

// Compile compiles one expression, which must have one of the types in returns.
func (c *Compiler) Compile(text string, scope Scope, returns ...*cel.Type) *Program {
	p := &Program{Text: text}
	env, err := c.env(scope)
	if err != nil {
		p.Err = &kcel.Error{Type: kcel.ErrorTypeInternal, Detail: fmt.Sprintf("unexpected error loading CEL environment: %v", err)}
		return p
	}
	ast, issues := env.Compile(text)
	if issues != nil {
		p.Err = &kcel.Error{Type: kcel.ErrorTypeInvalid, Detail: "compilation failed: " + issues.String(), Cause: kcel.NewCompilationError(issues)}
		return p
	}
	if !fits(ast.OutputType(), returns) {
		p.Err = &kcel.Error{Type: kcel.ErrorTypeInvalid, Detail: mismatch(ast.OutputType(), returns)}
		return p
	}
	p.Type = ast.OutputType()
	if p.program, err = env.Program(ast, cel.InterruptCheckFrequency(apicel.CheckFrequency)); err != nil {
		p.Err = &kcel.Error{Type: kcel.ErrorTypeInvalid, Detail: "program instantiation failed: " + err.Error()}
	}
	return p
}

func fits(got *cel.Type, wanted []*cel.Type) bool {
	for _, want := range wanted {
		if got.IsExactType(want) || cel.AnyType.IsExactType(want) {
			return true
		}
	}
	return false
}

func mismatch(got *cel.Type, wanted []*cel.Type) string {
	if len(wanted) == 1 {
		return fmt.Sprintf("must evaluate to %v but got %v", wanted[0].String(), got.String())
	}
	return fmt.Sprintf("must evaluate to one of %v but got %v", wanted, got.String())
}

// env is the environment of a scope.
func (c *Compiler) env(scope Scope) (*cel.Env, error) {
	key := planKey{scope, c.mode}
	if c.base != nil {
		if env := c.envs[key]; env != nil {
			return env, nil
		}
		env, err := extend(c.base, scope, c.mode)
		c.envs[key] = env
		return env, err
	}
	plain.Lock()
	defer plain.Unlock()
	if env := plain.envs[key]; env != nil {
		return env, nil
	}
	env, err := extend(Base(), scope, c.mode)
	if err == nil {
		plain.envs[key] = env
	}
	return env, err
}

func extend(from *environment.EnvSet, scope Scope, mode environment.Type) (*cel.Env, error) {
	types := admissionTypes()
	options := []cel.EnvOption{
		cel.Variable(Object, cel.DynType), cel.Variable(OldObject, cel.DynType),
		cel.Variable(Request, types.request.CelType()), cel.Variable(NamespaceObject, types.namespace.CelType()),
	}
	if scope.Params {
		options = append(options, cel.Variable(Params, cel.DynType))
	}
	if scope.Authorizer {
		options = append(options, cel.Variable(Authorizer, library.AuthorizerType), cel.Variable(RequestResource, library.ResourceCheckType))
	}
	set, err := from.Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: options, DeclTypes: []*kcel.DeclType{types.request, types.namespace},
	}, environment.StrictCostOpt)
	if err == nil && scope.Mutation {
		// Apart from the above: declared types would take the place of the resolver.
		set, err = set.Extend(environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: []cel.EnvOption{
			common.ResolverEnvOption(&mutation.DynamicTypeResolver{}), environment.UnversionedLib(library.JSONPatch),
		}})
	}
	if err != nil {
		return nil, err
	}
	return set.Env(mode)
}

// declared is the type of a variable as the checker of later expressions needs it.
func declared(t *cel.Type) *kcel.DeclType {
	if t == nil {
		return kcel.DynType
	}
	for _, simple := range simpleTypes {
		if t == simple.cel {
			return simple.declared
		}
	}
	if t.HasTrait(traits.ContainerType) && t.HasTrait(traits.IndexerType) {
		switch of := t.Parameters(); len(of) {
		case 1:
			return kcel.NewListType(declared(of[0]), -1)
		case 2:
			return kcel.NewMapType(declared(of[0]), declared(of[1]), -1)
		}
	}
	return kcel.DynType
}

var simpleTypes = []struct {
	cel      *cel.Type
	declared *kcel.DeclType
}{
	{cel.AnyType, kcel.AnyType}, {cel.BoolType, kcel.BoolType}, {cel.BytesType, kcel.BytesType}, {cel.DoubleType, kcel.DoubleType},
	{cel.DurationType, kcel.DurationType}, {cel.IntType, kcel.IntType}, {cel.NullType, kcel.NullType}, {cel.StringType, kcel.StringType},
	{cel.TimestampType, kcel.TimestampType}, {cel.UintType, kcel.UintType},
}
