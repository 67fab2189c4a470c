// Package match finds out whether the rules and selectors of a webhook or an admission policy take in a write.
package match

import (
	"context"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Exempt says that no webhook and no policy may see a write: of what configures them, so that a mistake can be undone.
func Exempt(a *admission.Attributes) bool {
	return a.Kind.GVK.Group == admissionv1.GroupName
}

// Selectors are compiled selectors. Nil ones take in everything.
type Selectors struct{ namespaces, objects labels.Selector }

// NewSelectors compiles selectors, which may be nil.
func NewSelectors(namespaces, objects *metav1.LabelSelector) (s Selectors, err error) {
	if s.namespaces, err = compile(namespaces); err != nil {
		return s, err
	}
	s.objects, err = compile(objects)
	return s, err
}

func compile(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return nil, nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// Objects says whether the object selector takes in the new or the old object.
func (s Selectors) Objects(a *admission.Attributes) bool {
	return s.objects == nil || labelled(s.objects, a.Object) || labelled(s.objects, a.Old)
}

func labelled(s labels.Selector, obj runtime.Object) bool {
	if obj == nil {
		return false
	}
	m, err := meta.Accessor(obj)
	return err == nil && s.Matches(labels.Set(m.GetLabels()))
}

// Namespaces says whether the namespace selector takes in the namespace of a write. Cluster-scoped objects, Namespaces
// apart, are never left out by it.
func (s Selectors) Namespaces(ctx context.Context, o *admission.Objects, a *admission.Attributes) (bool, error) {
	if s.namespaces == nil {
		return true, nil
	}
	isNamespace := a.Kind.GVK.Group == "" && a.Kind.Resource == "namespaces"
	switch {
	case isNamespace && a.Subresource == "" && (a.Operation == admission.Create || a.Operation == admission.Update):
		return labelled(s.namespaces, a.Object), nil
	case a.Namespace == "":
		return true, nil
	}
	namespace, err := o.Get(ctx, schema.GroupResource{Resource: "namespaces"}, "", a.Namespace)
	if err != nil {
		return false, err
	}
	return labelled(s.namespaces, namespace), nil
}

// Rule is a rule of a webhook, or one of a policy, which may name objects.
type Rule = admissionv1.NamedRuleWithOperations

// RulesOf brings the rules of a webhook into the form of Rules.
func RulesOf(list []admissionv1.RuleWithOperations) []Rule {
	out := make([]Rule, len(list))
	for i := range list {
		out[i].RuleWithOperations = list[i]
	}
	return out
}

// Rules finds the version of the write in which the first fitting rule wants to see it: the one that the client speaks,
// or, where policy is Equivalent, any other that the kind is served in. It is nil if no rule fits.
func Rules(a *admission.Attributes, rules []Rule, policy *admissionv1.MatchPolicyType) *kinds.Version {
	spoken := a.Spoken()
	for i := range rules {
		if fits(a, &rules[i], spoken) {
			return spoken
		}
	}
	if policy == nil || *policy != admissionv1.Equivalent || len(a.Kind.Served) == 1 {
		return nil
	}
	for i := range rules {
		for j := range a.Kind.Served {
			if v := &a.Kind.Served[j]; v.GVK != spoken.GVK && fits(a, &rules[i], v) {
				return v
			}
		}
	}
	return nil
}

// Resources are the MatchResources of a policy or of a binding, compiled. A nil one takes in everything.
type Resources struct {
	selectors      Selectors
	rules, exclude []Rule
	policy         *admissionv1.MatchPolicyType
}

// NewResources compiles m, which may be nil.
func NewResources(m *admissionv1.MatchResources) (*Resources, error) {
	if m == nil {
		return nil, nil
	}
	selectors, err := NewSelectors(m.NamespaceSelector, m.ObjectSelector)
	return &Resources{selectors, m.ResourceRules, m.ExcludeResourceRules, m.MatchPolicy}, err
}

// Match finds the version in which the write is to be seen; nil says that it is not taken in. No rules at all take in
// everything.
func (r *Resources) Match(ctx context.Context, o *admission.Objects, a *admission.Attributes) (*kinds.Version, error) {
	if r == nil {
		return a.Spoken(), nil
	}
	if !r.selectors.Objects(a) || Rules(a, r.exclude, r.policy) != nil {
		return nil, nil
	}
	version := a.Spoken()
	if len(r.rules) > 0 {
		if version = Rules(a, r.rules, r.policy); version == nil {
			return nil, nil
		}
	}
	in, err := r.selectors.Namespaces(ctx, o, a)
	if err != nil || !in {
		return nil, err
	}
	return version, nil
}

func fits(a *admission.Attributes, r *Rule, v *kinds.Version) bool {
	return (len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name)) && scope(a, r.Scope) && operation(a, r.Operations) && oneOf(r.APIGroups, v.GVK.Group) && oneOf(r.APIVersions, v.GVK.Version) &&
		resource(a, r.Resources)
}

func scope(a *admission.Attributes, s *admissionv1.ScopeType) bool {
	if s == nil || *s == admissionv1.AllScopes {
		return true
	}
	return (*s == admissionv1.NamespacedScope) == (a.Kind.Scope == kinds.Namespaced)
}

func operation(a *admission.Attributes, list []admissionv1.OperationType) bool {
	return slices.Contains(list, admissionv1.OperationAll) || slices.Contains(list, admissionv1.OperationType(a.Operation))
}

func oneOf(list []string, name string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, name)
}

func resource(a *admission.Attributes, list []string) bool {
	for _, r := range list {
		name, sub, _ := strings.Cut(r, "/")
		if (name == "*" || name == a.Kind.Resource) && (sub == "*" || sub == a.Subresource) {
			return true
		}
	}
	return false
}
