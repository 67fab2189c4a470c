package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	apicel "k8s.io/apiserver/pkg/apis/cel"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/match"
	"github.com/skiff-project/skiff/apiserver/expression"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Config says what policies may look at.
type Config struct {
	Objects *admission.Objects
	// KindOf finds the row that serves a kind, and the version; nil if nobody does.
	KindOf func(gvk schema.GroupVersionKind) (*kinds.Kind, *kinds.Version)
	// Types merges apply configurations into objects of a kind.
	Types func(kind *kinds.Kind) (managedfields.TypeConverter, error)
}

// Policies are the two rules of this package.
type Policies struct {
	Config
	validating, mutating store
}

// New makes the rules.
func New(c Config) *Policies {
	return &Policies{
		Config:     c,
		validating: store{policies: "validatingadmissionpolicies", bindings: "validatingadmissionpolicybindings"},
		mutating:   store{policies: "mutatingadmissionpolicies", bindings: "mutatingadmissionpolicybindings"},
	}
}

// Validating is the rule that runs ValidatingAdmissionPolicies.
func (p *Policies) Validating() admission.Rule {
	return admission.Rule{Name: "ValidatingAdmissionPolicy", Validate: p.validate}
}

// Mutating is the rule that runs MutatingAdmissionPolicies.
func (p *Policies) Mutating() admission.Rule {
	return admission.Rule{Name: "MutatingAdmissionPolicy", Mutate: p.mutate}
}

// store keeps the compiled policies of one sort.
type store struct {
	policies, bindings string
	mu                 sync.Mutex
	compiled           map[string]*compiled
	bound              map[string]*binding
}

// compiled is a policy, ready to run.
type compiled struct {
	key, name   string
	resources   *match.Resources
	err         error // of the selectors, or of the environment
	params      *admissionv1.ParamKind
	ignores     bool
	compiler    *expression.Compiler
	conditions  []*expression.Program
	validations []validation
	audits      []audit
	mutations   []mutation
	reinvocable bool
}

// binding applies a policy.
type binding struct {
	key, name, policy string
	resources         *match.Resources
	err               error
	params            *admissionv1.ParamRef
	actions           []admissionv1.ValidationAction
}

func keyOf(m metav1.Object) string { return string(m.GetUID()) + "@" + m.GetResourceVersion() }

// load answers the policies of a sort, by name, and their bindings.
func (s *store) load(ctx context.Context, o *admission.Objects) ([]*compiled, []*binding, error) {
	group := func(resource string) schema.GroupResource {
		return schema.GroupResource{Group: admissionv1.GroupName, Resource: resource}
	}
	bindings, err := o.List(ctx, group(s.bindings), "")
	if err != nil || len(bindings) == 0 {
		return nil, nil, err
	}
	policies, err := o.List(ctx, group(s.policies), "")
	if err != nil || len(policies) == 0 {
		return nil, nil, err
	}
	byName := func(a, b runtime.Object) int {
		return strings.Compare(a.(metav1.Object).GetName(), b.(metav1.Object).GetName())
	}
	slices.SortFunc(policies, byName)
	slices.SortFunc(bindings, byName)
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is not listed any more is dropped with the old maps.
	nowCompiled, nowBound := map[string]*compiled{}, map[string]*binding{}
	var outPolicies []*compiled
	var outBindings []*binding
	for _, obj := range policies {
		key := keyOf(obj.(metav1.Object))
		c := s.compiled[key]
		if c == nil {
			c = compile(obj)
			c.key, c.name = key, obj.(metav1.Object).GetName()
		}
		nowCompiled[key] = c
		outPolicies = append(outPolicies, c)
	}
	for _, obj := range bindings {
		key := keyOf(obj.(metav1.Object))
		b := s.bound[key]
		if b == nil {
			b = bind(obj)
			b.key, b.name = key, obj.(metav1.Object).GetName()
		}
		nowBound[key] = b
		outBindings = append(outBindings, b)
	}
	s.compiled, s.bound = nowCompiled, nowBound
	return outPolicies, outBindings, nil
}

func bind(obj runtime.Object) *binding {
	b := &binding{}
	switch o := obj.(type) {
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		b.policy, b.params, b.actions = o.Spec.PolicyName, o.Spec.ParamRef, o.Spec.ValidationActions
		b.resources, b.err = match.NewResources(o.Spec.MatchResources)
	case *admissionv1.MutatingAdmissionPolicyBinding:
		b.policy, b.params = o.Spec.PolicyName, o.Spec.ParamRef
		b.resources, b.err = match.NewResources(o.Spec.MatchResources)
	}
	return b
}

func compile(obj runtime.Object) *compiled {
	c := &compiled{}
	switch o := obj.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		c.begin(o.Spec.MatchConstraints, o.Spec.ParamKind, o.Spec.FailurePolicy, o.Spec.Variables, o.Spec.MatchConditions, false)
		if c.compiler != nil {
			c.compileValidations(&o.Spec)
		}
	case *admissionv1.MutatingAdmissionPolicy:
		c.begin(o.Spec.MatchConstraints, o.Spec.ParamKind, o.Spec.FailurePolicy, o.Spec.Variables, o.Spec.MatchConditions, true)
		if c.compiler != nil {
			c.compileMutations(&o.Spec)
		}
	}
	return c
}

// begin compiles what both sorts have.
func (c *compiled) begin(m *admissionv1.MatchResources, params *admissionv1.ParamKind, failure *admissionv1.FailurePolicyType,
	variables []admissionv1.Variable, conditions []admissionv1.MatchCondition, mutates bool,
) {
	c.params, c.ignores = params, failure != nil && *failure == admissionv1.Ignore
	if c.resources, c.err = match.NewResources(m); c.err != nil {
		return
	}
	if c.compiler, c.err = expression.WithVariables(true); c.err != nil {
		c.compiler = nil
		return
	}
	scope := expression.Scope{Params: params != nil, Authorizer: true}
	for _, condition := range conditions {
		c.conditions = append(c.conditions, c.compiler.Compile(condition.Expression, scope, cel.BoolType))
	}
	scope.Mutation = mutates
	for _, v := range variables {
		c.compiler.Variable(v.Name, v.Expression, scope)
	}
}

// application is one policy, applied by one binding with one parameter object.
type application struct {
	*compiled
	*binding
	version   *kinds.Version
	param     runtime.Object
	namespace *corev1.Namespace
}

// failure is why a policy or a binding could not be applied.
type failure struct {
	policy  *compiled
	binding *binding
	err     error
}

func (p *Policies) find(ctx context.Context, s *store, a *admission.Attributes) (out []application, failed []failure, err error) {
	policies, bindings, err := s.load(ctx, p.Objects)
	if err != nil || len(policies) == 0 {
		return nil, nil, err
	}
	namespace, err := p.namespaceOf(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	for _, policy := range policies {
		version, err := policy.resources.Match(ctx, p.Objects, a)
		if err == nil {
			err = policy.err
		}
		if err != nil {
			failed = append(failed, failure{policy, nil, fmt.Errorf("failed to configure policy: %w", err)})
			continue
		}
		if version == nil {
			continue
		}
		for _, b := range bindings {
			if b.policy != policy.name {
				continue
			}
			wants, err := b.resources.Match(ctx, p.Objects, a)
			if err == nil {
				err = b.err
			}
			var params []runtime.Object
			if err == nil && wants != nil {
				params, err = p.paramsOf(ctx, policy.params, b.params, a)
			}
			if err != nil {
				failed = append(failed, failure{policy, b, fmt.Errorf("failed to configure binding: %w", err)})
				continue
			}
			for _, param := range params {
				out = append(out, application{policy, b, version, param, namespace})
			}
		}
	}
	return out, failed, nil
}

// namespaceOf is the namespace of the object; a Namespace has none.
func (p *Policies) namespaceOf(ctx context.Context, a *admission.Attributes) (*corev1.Namespace, error) {
	if a.Namespace == "" || a.Kind.Scope == kinds.Cluster {
		return nil, nil
	}
	obj, err := p.Objects.Get(ctx, schema.GroupResource{Resource: "namespaces"}, "", a.Namespace)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Namespace), nil
}

// paramsOf finds the parameter objects of a binding. Without parameters that is one that is nil.
func (p *Policies) paramsOf(ctx context.Context, kind *admissionv1.ParamKind, ref *admissionv1.ParamRef, a *admission.Attributes) ([]runtime.Object, error) {
	if kind == nil || ref == nil {
		return []runtime.Object{nil}, nil
	}
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return nil, err
	}
	row, version := p.KindOf(gv.WithKind(kind.Kind))
	if row == nil {
		return nil, fmt.Errorf("paramKind kind `%v` not known", kind.String())
	}
	namespace := ref.Namespace
	switch {
	case row.Scope == kinds.Cluster && namespace != "":
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case row.Scope == kinds.Namespaced && namespace == "":
		if namespace = a.Namespace; namespace == "" {
			return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
		}
	}
	found, err := p.lookUp(ctx, row, ref, namespace)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	for i, obj := range found {
		if found[i], err = inVersion(version, obj); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (p *Policies) lookUp(ctx context.Context, row *kinds.Kind, ref *admissionv1.ParamRef, namespace string) ([]runtime.Object, error) {
	if ref.Name != "" {
		obj, err := p.Objects.Get(ctx, row.GroupResource(), namespace, ref.Name)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []runtime.Object{obj}, nil
	}
	if ref.Selector == nil {
		return nil, errors.New("one of name or selector must be provided")
	}
	selector, err := metav1.LabelSelectorAsSelector(ref.Selector)
	if err != nil {
		return nil, err
	}
	all, err := p.Objects.List(ctx, row.GroupResource(), namespace)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(obj runtime.Object) bool {
		m, err := meta.Accessor(obj)
		return err != nil || !selector.Matches(labels.Set(m.GetLabels()))
	}), nil
}

// inVersion is an object as it is in a version, with its kind filled in.
func inVersion(v *kinds.Version, obj runtime.Object) (runtime.Object, error) {
	if v.FromHub != nil {
		return v.FromHub(obj)
	}
	if obj.GetObjectKind().GroupVersionKind() != v.GVK {
		obj = obj.DeepCopyObject()
		obj.GetObjectKind().SetGroupVersionKind(v.GVK)
	}
	return obj, nil
}

// input is what the expressions of an application see.
func (p *Policies) input(a *admission.Attributes, app *application) (expression.Input, error) {
	object, err := a.In(app.version, a.Object)
	if err != nil {
		return expression.Input{}, fmt.Errorf("failed to convert object version: %w", err)
	}
	old, err := a.In(app.version, a.Old)
	if err != nil {
		return expression.Input{}, fmt.Errorf("failed to convert object version: %w", err)
	}
	in := expression.Input{Object: object, OldObject: old, Params: app.param, Request: match.Request(a, app.version)}
	if app.namespace != nil {
		in.Namespace = app.namespace
	}
	in.Authorizer, in.RequestResource = match.Authorizer(p.Objects.Authz, a)
	return in, nil
}

// meets evaluates the match conditions: one that is false leaves the policy out, whatever errors the others have.
func (c *compiled) meets(ctx context.Context, in expression.Input) (bool, error) {
	if len(c.conditions) == 0 {
		return true, nil
	}
	run := c.compiler.Start(ctx, in, apicel.RuntimeCELCostBudgetMatchConditions)
	var failed []error
	for _, condition := range c.conditions {
		value, err := run.Eval(condition)
		if err != nil {
			failed = append(failed, err)
		} else if value == types.False {
			return false, nil
		}
	}
	return len(failed) == 0, errors.Join(failed...)
}
