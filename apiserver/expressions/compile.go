package expressions

import (
	"errors"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/util/version"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apicel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// Names of variables.
const (
	Object           = "object"
	OldObject        = "oldObject"
	Params           = "params"
	Request          = "request"
	NamespaceObject  = "namespaceObject"
	Authorizer       = "authorizer"
	ResourceAuthz    = "authorizer.requestResource"
	Variables        = "variables"
	variablesType    = "kubernetes.variables"
	applyConfigType  = "Object"
	jsonPatchType    = "JSONPatch"
	misconfiguredFmt = "expressions: environment misconfigured: %w"
)

// Results that an expression may have. A Condition is true or false, a Message is text, an Annotation is text or null, a
// Variable is anything, an ApplyConfiguration is an Object and a JSONPatch a list of steps.
var (
	Condition          = []*cel.Type{cel.BoolType}
	Message            = []*cel.Type{cel.StringType}
	Annotation         = []*cel.Type{cel.StringType, cel.NullType}
	Variable           = []*cel.Type{cel.AnyType, cel.DynType}
	ApplyConfiguration = []*cel.Type{cel.ObjectType(applyConfigType)}
	JSONPatch          = []*cel.Type{cel.ListType(cel.ObjectType(jsonPatchType))}
)

// Vocabulary says which variables and types an expression may use beside object, oldObject, request and namespaceObject.
type Vocabulary struct {
	Params     bool
	Authorizer bool
	// Patches: the types Object and JSONPatch.
	Patches bool
}

// Compiled is an expression that can run.
type Compiled struct {
	Program cel.Program
	Result  *cel.Type
}

// Compiler compiles the expressions of one object. It is not safe for concurrent use.
type Compiler struct {
	vars *apicel.DeclType // nil: no variables
	envs func(Vocabulary) (*environment.EnvSet, error)
	made map[Vocabulary]*environment.EnvSet
}

// Base is upstream's environment of this version, which is costly to make and never changes.
var Base = sync.OnceValue(func() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
})

// plain are the environments of expressions that have no variables, shared by all compilers.
var plain struct {
	sync.Mutex
	made map[Vocabulary]*environment.EnvSet
}

func plainEnv(v Vocabulary) (*environment.EnvSet, error) {
	plain.Lock()
	defer plain.Unlock()
	if env := plain.made[v]; env != nil {
		return env, nil
	}
	env, err := extend(Base(), v)
	if err != nil {
		return nil, err
	}
	if plain.made == nil {
		plain.made = map[Vocabulary]*environment.EnvSet{}
	}
	plain.made[v] = env
	return env, nil
}

// New makes a compiler. With variables, what Declare compiles can be used by what follows, as variables.NAME.
func New(variables bool) (*Compiler, error) {
	c := &Compiler{envs: plainEnv}
	if !variables {
		return c, nil
	}
	c.vars = apicel.NewObjectType(variablesType, map[string]*apicel.DeclField{})
	composed, err := Base().Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        []cel.EnvOption{cel.Variable(Variables, c.vars.CelType())},
		DeclTypes:         []*apicel.DeclType{c.vars},
	})
	if err != nil {
		return nil, fmt.Errorf(misconfiguredFmt, err)
	}
	c.made = map[Vocabulary]*environment.EnvSet{}
	c.envs = func(v Vocabulary) (*environment.EnvSet, error) {
		if env := c.made[v]; env != nil {
			return env, nil
		}
		env, err := extend(composed, v)
		if err == nil {
			c.made[v] = env
		}
		return env, err
	}
	return c, nil
}

func extend(from *environment.EnvSet, v Vocabulary) (*environment.EnvSet, error) {
	request, namespace := requestType(), namespaceType()
	options := []cel.EnvOption{
		cel.Variable(Object, cel.DynType), cel.Variable(OldObject, cel.DynType),
		cel.Variable(NamespaceObject, namespace.CelType()), cel.Variable(Request, request.CelType()),
	}
	if v.Params {
		options = append(options, cel.Variable(Params, cel.DynType))
	}
	if v.Authorizer {
		options = append(options, cel.Variable(Authorizer, library.AuthorizerType), cel.Variable(ResourceAuthz, library.ResourceCheckType))
	}
	env, err := from.Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: options, DeclTypes: []*apicel.DeclType{namespace, request},
	}, environment.StrictCostOpt)
	if err == nil && v.Patches {
		env, err = env.Extend(environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0),
			EnvOptions:        []cel.EnvOption{common.ResolverEnvOption(&mutation.DynamicTypeResolver{}), environment.UnversionedLib(library.JSONPatch)},
		})
	}
	if err != nil {
		return nil, fmt.Errorf(misconfiguredFmt, err)
	}
	return env, nil
}

// Compile checks an expression and makes it runnable. The error is an *apicel.Error. stored says that the expression was
// accepted before: it may use what new ones may not use yet while a cluster is being upgraded.
func (c *Compiler) Compile(text string, results []*cel.Type, v Vocabulary, stored bool) (Compiled, error) {
	mode := environment.NewExpressions
	if stored {
		mode = environment.StoredExpressions
	}
	internal := func(format string, args ...any) (Compiled, error) {
		return Compiled{}, &apicel.Error{Type: apicel.ErrorTypeInternal, Detail: fmt.Sprintf(format, args...)}
	}
	set, err := c.envs(v)
	if err != nil {
		return internal("unexpected error loading CEL environment: %v", err)
	}
	env, err := set.Env(mode)
	if err != nil {
		return internal("unexpected error loading CEL environment: %v", err)
	}
	ast, issues := env.Compile(text)
	if issues != nil {
		return Compiled{}, &apicel.Error{Type: apicel.ErrorTypeInvalid, Detail: "compilation failed: " + issues.String(), Cause: apicel.NewCompilationError(issues)}
	}
	if !allowed(ast.OutputType(), results) {
		detail := fmt.Sprintf("must evaluate to one of %v but got %v", results, ast.OutputType())
		if len(results) == 1 {
			detail = fmt.Sprintf("must evaluate to %v but got %v", results[0], ast.OutputType())
		}
		return Compiled{}, &apicel.Error{Type: apicel.ErrorTypeInvalid, Detail: detail}
	}
	if _, err := cel.AstToCheckedExpr(ast); err != nil {
		return internal("unexpected compilation error: %v", err)
	}
	program, err := env.Program(ast, cel.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		return internal("program instantiation failed: %v", err)
	}
	return Compiled{Program: program, Result: ast.OutputType()}, nil
}

func allowed(got *cel.Type, results []*cel.Type) bool {
	for _, want := range results {
		if got.IsExactType(want) || cel.AnyType.IsExactType(want) {
			return true
		}
	}
	return false
}

// Declare compiles a variable and lets later expressions use it. One that does not compile can be used too, as anything:
// each mistake is reported once.
func (c *Compiler) Declare(name, text string, v Vocabulary, stored bool) (Compiled, error) {
	if c.vars == nil {
		return Compiled{}, errors.New("variable composition is not allowed")
	}
	out, err := c.Compile(text, Variable, v, stored)
	c.vars.Fields[name] = apicel.NewDeclField(name, declared(out.Result), true, nil, nil)
	return out, err
}

var scalars = map[*cel.Type]*apicel.DeclType{
	cel.AnyType: apicel.AnyType, cel.BoolType: apicel.BoolType, cel.BytesType: apicel.BytesType, cel.DoubleType: apicel.DoubleType,
	cel.DurationType: apicel.DurationType, cel.IntType: apicel.IntType, cel.NullType: apicel.NullType, cel.StringType: apicel.StringType,
	cel.TimestampType: apicel.TimestampType, cel.UintType: apicel.UintType,
}

// declared is the type of a variable; what has no declaration is dynamic.
func declared(t *cel.Type) *apicel.DeclType {
	if t == nil {
		return apicel.DynType
	}
	if d, ok := scalars[t]; ok {
		return d
	}
	if t.HasTrait(traits.ContainerType) && t.HasTrait(traits.IndexerType) {
		switch p := t.Parameters(); len(p) {
		case 1:
			return apicel.NewListType(declared(p[0]), -1)
		case 2:
			return apicel.NewMapType(declared(p[0]), declared(p[1]), -1)
		}
	}
	return apicel.DynType
}
