package admissionregistration

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// hook is a webhook of either sort; a validating one has no reinvocation policy.
type hook = admissionv1.MutatingWebhook

// hooksOf shows a validating configuration's hooks as those of the other sort, which has all of their fields.
func hooksOf(c *admissionv1.ValidatingWebhookConfiguration) []hook {
	out := make([]hook, len(c.Webhooks))
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out[i] = hook{Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
			NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects, TimeoutSeconds: w.TimeoutSeconds,
			AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions}
	}
	return out
}

func validateValidatingHooks(_ *kinds.Request, c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return newHooks(c.Name, hooksOf(c))
}

func validateValidatingHooksUpdate(_ *kinds.Request, c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return append(kinds.ValidateMeta(c, kinds.Cluster, kinds.Subdomain), hooks(hooksOf(c), lenientHooks(hooksOf(c), hooksOf(old)))...)
}

func validateMutatingHooks(_ *kinds.Request, c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return newHooks(c.Name, c.Webhooks)
}

func validateMutatingHooksUpdate(_ *kinds.Request, c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return append(kinds.ValidateMeta(c, kinds.Cluster, kinds.Subdomain), hooks(c.Webhooks, lenientHooks(c.Webhooks, old.Webhooks))...)
}

func newHooks(name string, list []hook) field.ErrorList {
	l := check.List{ErrorList: hooks(list, hookLeniency{})}
	notStatic(&l, name)
	return l.ErrorList
}

// hookLeniency is what a configuration may keep because an older server took it.
type hookLeniency struct {
	sameConditions, sideEffects, unknownVersions, repeatedNames bool
	selectors                                                   metavalidation.LabelSelectorValidationOptions
	expressions                                                 known
}

func lenientHooks(list, old []hook) hookLeniency {
	may := hookLeniency{sameConditions: len(list) == len(old), expressions: known{}}
	names := map[string]bool{}
	for i := range old {
		h := &old[i]
		if may.sameConditions && !apiequality.Semantic.DeepEqual(list[i].MatchConditions, h.MatchConditions) {
			may.sameConditions = false
		}
		if h.SideEffects == nil || !slices.Contains(noSideEffects, *h.SideEffects) {
			may.sideEffects = true
		}
		if len(h.AdmissionReviewVersions) > 0 && !understood(h.AdmissionReviewVersions) {
			may.unknownVersions = true
		}
		if names[h.Name] {
			may.repeatedNames = true
		}
		names[h.Name] = true
		for _, s := range []*metav1.LabelSelector{h.NamespaceSelector, h.ObjectSelector} {
			if s != nil && len(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0 {
				may.selectors.AllowInvalidLabelValueInSelector = true
			}
		}
		conditionTexts(may.expressions, h.MatchConditions)
	}
	return may
}

var (
	noSideEffects  = []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	allSideEffects = []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun, admissionv1.SideEffectClassSome, admissionv1.SideEffectClassUnknown}
	reviewVersions = []string{"v1", "v1beta1"}
)

// understood says whether a server can speak to the hook at all.
func understood(versions []string) bool {
	return slices.ContainsFunc(versions, func(v string) bool { return slices.Contains(reviewVersions, v) })
}

func hooks(list []hook, may hookLeniency) field.ErrorList {
	var l check.List
	names := map[string]bool{}
	for i := range list {
		h, at := &list[i], field.NewPath("webhooks").Index(i)
		oneHook(&l, h, may, at)
		versions(&l, h.AdmissionReviewVersions, may.unknownVersions, at.Child("admissionReviewVersions"))
		if h.Name != "" && names[h.Name] && !may.repeatedNames {
			l.Add(field.Duplicate(at.Child("name"), h.Name))
		}
		names[h.Name] = true
	}
	return l.ErrorList
}

func versions(l *check.List, list []string, unknown bool, at *field.Path) {
	accepted := strings.Join(reviewVersions, ", ")
	if len(list) == 0 {
		l.Add(field.Required(at, "must specify one of "+accepted))
		return
	}
	for i, v := range list {
		if slices.Contains(list[:i], v) {
			l.Add(field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		l.Rule(at.Index(i), v, validation.IsDNS1035Label)
	}
	if !unknown && !understood(list) {
		l.Add(field.Invalid(at, list, "must include at least one of "+accepted))
	}
}

func oneHook(l *check.List, h *hook, may hookLeniency, at *field.Path) {
	l.All(validation.IsFullyQualifiedName(at.Child("name"), h.Name))
	for i := range h.Rules {
		ruleWithOperations(l, &h.Rules[i], at.Child("rules").Index(i))
	}
	if h.FailurePolicy != nil {
		check.OneOf(l, at.Child("failurePolicy"), *h.FailurePolicy, failurePolicies...)
	}
	if h.MatchPolicy != nil {
		check.OneOf(l, at.Child("matchPolicy"), *h.MatchPolicy, matchPolicies...)
	}
	classes := noSideEffects
	if may.sideEffects {
		classes = allSideEffects
	}
	if effects := at.Child("sideEffects"); h.SideEffects == nil {
		names := make([]string, len(classes))
		for i := range classes {
			names[i] = string(classes[i])
		}
		l.Add(field.Required(effects, "must specify one of "+strings.Join(names, ", ")))
	} else {
		check.OneOf(l, effects, *h.SideEffects, classes...)
	}
	if t := h.TimeoutSeconds; t != nil && (*t > 30 || *t < 1) {
		l.Add(field.Invalid(at.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	if h.NamespaceSelector != nil {
		l.All(metavalidation.ValidateLabelSelector(h.NamespaceSelector, may.selectors, at.Child("namespaceSelector")))
	}
	if h.ObjectSelector != nil {
		l.All(metavalidation.ValidateLabelSelector(h.ObjectSelector, may.selectors, at.Child("objectSelector")))
	}
	if h.ReinvocationPolicy != nil {
		check.OneOf(l, at.Child("reinvocationPolicy"), *h.ReinvocationPolicy, reinvocations...)
	}
	client := at.Child("clientConfig")
	switch c := &h.ClientConfig; {
	case (c.URL == nil) == (c.Service == nil):
		l.Add(field.Required(client, "exactly one of url or service is required"))
	case c.URL != nil:
		l.WebhookURL(client.Child("url"), *c.URL)
	default:
		// Upstream names the two the wrong way round, and so do we: a missing name is reported as a missing namespace.
		l.WebhookService(client.Child("service"), c.Service.Name, c.Service.Namespace, c.Service.Path, c.Service.Port)
	}
	if !may.sameConditions {
		matchConditions(l, h.MatchConditions, false, may.expressions, at.Child("matchConditions"))
	}
}
