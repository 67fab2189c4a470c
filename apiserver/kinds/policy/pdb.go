package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// PodDisruptionBudget says how many of some pods may be gone at once.
var PodDisruptionBudget = kinds.Define(kinds.Row[*policyv1.PodDisruptionBudget]{
	Resource: "poddisruptionbudgets", ShortNames: []string{"pdb"}, Scope: kinds.Namespaced, NoUnconditionalUpdate: true, AnyFinalizer: true,
	Validate: validateNew, ValidateUpdate: validateUpdate, ValidateStatus: validateStatus,
	Columns: []kinds.Column[*policyv1.PodDisruptionBudget]{
		kinds.NameColumn[*policyv1.PodDisruptionBudget](),
		{Name: "Min Available", Description: "The minimum number of pods that must be available.",
			Cell: func(b *policyv1.PodDisruptionBudget) any { return limitText(b.Spec.MinAvailable) }},
		{Name: "Max Unavailable", Description: "The maximum number of pods that may be unavailable.",
			Cell: func(b *policyv1.PodDisruptionBudget) any { return limitText(b.Spec.MaxUnavailable) }},
		{Name: "Allowed Disruptions", Type: "integer", Description: "Calculated number of pods that may be disrupted at this time.",
			Cell: func(b *policyv1.PodDisruptionBudget) any { return int64(b.Status.DisruptionsAllowed) }},
		kinds.AgeColumn[*policyv1.PodDisruptionBudget](),
	},
})

func limitText(n *intstr.IntOrString) string {
	if n == nil {
		return "N/A"
	}
	return n.String()
}
