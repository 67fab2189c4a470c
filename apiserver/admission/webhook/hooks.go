package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apicel "k8s.io/apiserver/pkg/apis/cel"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/admission/match"
	"github.com/skiff-project/skiff/apiserver/callout"
	"github.com/skiff-project/skiff/apiserver/expression"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Config says how webhooks are found and reached.
type Config struct {
	Objects *admission.Objects
	// Dial connects to a port of a Service.
	Dial callout.Dialer
	Log  *slog.Logger
}

// Hooks are the two rules of this package.
type Hooks struct {
	Config
	mu sync.Mutex
	// configurations are compiled ones, by resource and name.
	configurations map[string]*configuration
}

// New makes the rules.
func New(c Config) *Hooks {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Hooks{Config: c, configurations: map[string]*configuration{}}
}

const (
	mutating   = "mutatingwebhookconfigurations"
	validating = "validatingwebhookconfigurations"
)

// Mutating is the rule that asks mutating webhooks.
func (h *Hooks) Mutating() admission.Rule {
	return admission.Rule{Name: "MutatingAdmissionWebhook", Mutate: h.mutate}
}

// Validating is the rule that asks validating webhooks.
func (h *Hooks) Validating() admission.Rule {
	return admission.Rule{Name: "ValidatingAdmissionWebhook", Validate: h.validate}
}

// configuration is one object with its webhooks compiled.
type configuration struct {
	uid, version string
	hooks        []*hook
}

// hook is one webhook.
type hook struct {
	name, configuration string
	client              admissionv1.WebhookClientConfig
	rules               []match.Rule
	policy              *admissionv1.MatchPolicyType
	selectors           match.Selectors
	// selectorErr is why the selectors cannot be used.
	selectorErr error
	timeout     time.Duration
	failOpen    bool
	// pure webhooks may be asked about dry runs.
	pure     bool
	versions []string
	// reinvocable webhooks are asked again when another one has changed the object after them.
	reinvocable bool
	compiler    *expression.Compiler
	conditions  []condition

	once      sync.Once
	caller    *callout.Client
	callerErr error
}

type condition struct {
	name string
	*expression.Program
}

// hooks are all webhooks of one sort, in order.
func (h *Hooks) hooks(ctx context.Context, resource string) ([]*hook, error) {
	list, err := h.Objects.List(ctx, schema.GroupResource{Group: admissionv1.GroupName, Resource: resource}, "")
	if err != nil || len(list) == 0 {
		return nil, err
	}
	slices.SortFunc(list, func(a, b runtime.Object) int {
		return strings.Compare(a.(metav1.Object).GetName(), b.(metav1.Object).GetName())
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*hook
	current := map[string]bool{}
	for _, obj := range list {
		m := obj.(metav1.Object)
		key := resource + "/" + m.GetName()
		current[key] = true
		c := h.configurations[key]
		if c == nil || c.uid != string(m.GetUID()) || c.version != m.GetResourceVersion() {
			c.close()
			c = &configuration{uid: string(m.GetUID()), version: m.GetResourceVersion(), hooks: compile(obj)}
			h.configurations[key] = c
		}
		out = append(out, c.hooks...)
	}
	for key, c := range h.configurations {
		if strings.HasPrefix(key, resource) && !current[key] {
			c.close()
			delete(h.configurations, key)
		}
	}
	return out, nil
}

// close ends idle connections of webhooks that are no more.
func (c *configuration) close() {
	if c == nil {
		return
	}
	for _, hook := range c.hooks {
		hook.once.Do(func() { hook.callerErr = errGone })
		if hook.caller != nil {
			hook.caller.Close()
		}
	}
}

func compile(obj runtime.Object) []*hook {
	var out []*hook
	switch c := obj.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			h := newHook(w.Name, c.Name, w.ClientConfig, w.Rules, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector, w.TimeoutSeconds,
				w.FailurePolicy, w.SideEffects, w.AdmissionReviewVersions, w.MatchConditions)
			h.reinvocable = w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy
			out = append(out, h)
		}
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			out = append(out, newHook(w.Name, c.Name, w.ClientConfig, w.Rules, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector, w.TimeoutSeconds,
				w.FailurePolicy, w.SideEffects, w.AdmissionReviewVersions, w.MatchConditions))
		}
	}
	return out
}

func newHook(name, configuration string, client admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations, policy *admissionv1.MatchPolicyType,
	namespaces, objects *metav1.LabelSelector, timeout *int32, failure *admissionv1.FailurePolicyType, effects *admissionv1.SideEffectClass,
	versions []string, conditions []admissionv1.MatchCondition,
) *hook {
	h := &hook{name: name, configuration: configuration, client: client, rules: match.RulesOf(rules), policy: policy, versions: versions, timeout: 10 * time.Second}
	h.selectors, h.selectorErr = match.NewSelectors(namespaces, objects)
	if timeout != nil {
		h.timeout = time.Duration(*timeout) * time.Second
	}
	h.failOpen = failure != nil && *failure == admissionv1.Ignore
	h.pure = effects != nil && (*effects == admissionv1.SideEffectClassNone || *effects == admissionv1.SideEffectClassNoneOnDryRun)
	if len(conditions) > 0 {
		h.compiler = expression.NewCompiler(true)
		for _, c := range conditions {
			h.conditions = append(h.conditions, condition{c.Name, h.compiler.Compile(c.Expression, expression.Scope{Authorizer: true}, cel.BoolType)})
		}
	}
	return h
}

// wants says in which version a webhook is to see the write; nil: not at all. The error is a refusal.
func (h *Hooks) wants(ctx context.Context, hook *hook, a *admission.Attributes) (*kinds.Version, error) {
	if hook.selectorErr == nil && !hook.selectors.Objects(a) {
		return nil, nil
	}
	version := match.Rules(a, hook.rules, hook.policy)
	if version == nil {
		return nil, nil
	}
	if hook.selectorErr != nil {
		return nil, apierrors.NewInternalError(hook.selectorErr)
	}
	if in, err := hook.selectors.Namespaces(ctx, h.Objects, a); err != nil || !in {
		return nil, err
	}
	if len(hook.conditions) == 0 {
		return version, nil
	}
	fits, err := h.meets(ctx, hook, a, version)
	if err != nil && hook.failOpen {
		h.Log.Warn("match conditions of a webhook fail; it is left out", "webhook", hook.name, "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, admission.Forbidden(a, "%w", err)
	}
	if !fits {
		return nil, nil
	}
	return version, nil
}

// meets evaluates match conditions: one that is false leaves the webhook out, whatever errors the others have.
func (h *Hooks) meets(ctx context.Context, hook *hook, a *admission.Attributes, version *kinds.Version) (bool, error) {
	object, err := a.In(version, a.Object)
	if err != nil {
		return false, err
	}
	old, err := a.In(version, a.Old)
	if err != nil {
		return false, err
	}
	in := expression.Input{Object: object, OldObject: old, Request: match.Request(a, version)}
	in.Authorizer, in.RequestResource = match.Authorizer(h.Objects.Authz, a)
	run := hook.compiler.Start(ctx, in, apicel.RuntimeCELCostBudgetMatchConditions)
	var failed []string
	for _, c := range hook.conditions {
		value, err := run.Eval(c.Program)
		if err != nil {
			failed = append(failed, err.Error())
		} else if value == types.False {
			return false, nil
		}
	}
	switch len(failed) {
	case 0:
		return true, nil
	case 1:
		return false, fmt.Errorf("%s", failed[0])
	}
	return false, fmt.Errorf("[%s]", strings.Join(failed, ", "))
}
