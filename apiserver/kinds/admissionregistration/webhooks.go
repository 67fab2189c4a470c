package admissionregistration

import (
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

// ValidatingWebhookConfiguration lists webhooks that may refuse a write.
var ValidatingWebhookConfiguration = kinds.Define(kinds.Row[*admissionv1.ValidatingWebhookConfiguration]{
	Resource: "validatingwebhookconfigurations", Categories: []string{"api-extensions"}, AnyFinalizer: true,
	Generation: kinds.GenerationOwn, NoUnconditionalUpdate: true,
	PrepareCreate: func(_ *kinds.Request, c *admissionv1.ValidatingWebhookConfiguration) { c.Generation = 1 },
	PrepareUpdate: func(_ *kinds.Request, c, old *admissionv1.ValidatingWebhookConfiguration) {
		count(c, old, c.Webhooks, old.Webhooks)
	},
	Default: func(c *admissionv1.ValidatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			defaultHook(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds, &w.ClientConfig, w.Rules)
		}
	},
	Validate: validateValidatingHooks, ValidateUpdate: validateValidatingHooksUpdate,
	Warnings: func(_ *kinds.Request, c, old *admissionv1.ValidatingWebhookConfiguration) []string {
		return hookWarnings(c.Name, old == nil, hooksOf(c))
	},
	Columns: []kinds.Column[*admissionv1.ValidatingWebhookConfiguration]{
		kinds.NameColumn[*admissionv1.ValidatingWebhookConfiguration](),
		{Name: "Webhooks", Type: "integer", Description: "Webhooks indicates the number of webhooks registered in this configuration",
			Cell: func(c *admissionv1.ValidatingWebhookConfiguration) any { return int64(len(c.Webhooks)) }},
		kinds.AgeColumn[*admissionv1.ValidatingWebhookConfiguration](),
	},
})

// MutatingWebhookConfiguration lists webhooks that may change what is written.
var MutatingWebhookConfiguration = kinds.Define(kinds.Row[*admissionv1.MutatingWebhookConfiguration]{
	Resource: "mutatingwebhookconfigurations", Categories: []string{"api-extensions"}, AnyFinalizer: true,
	Generation: kinds.GenerationOwn, NoUnconditionalUpdate: true,
	PrepareCreate: func(_ *kinds.Request, c *admissionv1.MutatingWebhookConfiguration) { c.Generation = 1 },
	PrepareUpdate: func(_ *kinds.Request, c, old *admissionv1.MutatingWebhookConfiguration) {
		count(c, old, c.Webhooks, old.Webhooks)
	},
	Default: func(c *admissionv1.MutatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			defaultHook(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds, &w.ClientConfig, w.Rules)
			fill.Nil(&w.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
		}
	},
	Validate: validateMutatingHooks, ValidateUpdate: validateMutatingHooksUpdate,
	Warnings: func(_ *kinds.Request, c, old *admissionv1.MutatingWebhookConfiguration) []string {
		return hookWarnings(c.Name, old == nil, c.Webhooks)
	},
	Columns: []kinds.Column[*admissionv1.MutatingWebhookConfiguration]{
		kinds.NameColumn[*admissionv1.MutatingWebhookConfiguration](),
		{Name: "Webhooks", Type: "integer", Description: "Webhooks indicates the number of webhooks registered in this configuration",
			Cell: func(c *admissionv1.MutatingWebhookConfiguration) any { return int64(len(c.Webhooks)) }},
		kinds.AgeColumn[*admissionv1.MutatingWebhookConfiguration](),
	},
})

// count counts a change of the hooks. To upstream no hooks and an empty list of them are not the same.
func count(c, old metav1.Object, hooks, before any) {
	if !reflect.DeepEqual(hooks, before) {
		c.SetGeneration(old.GetGeneration() + 1)
	}
}
