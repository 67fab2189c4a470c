package coordination

import (
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// Lease says who holds something and until when.
var Lease = kinds.Define(kinds.Row[*coordinationv1.Lease]{
	Resource: "leases", Scope: kinds.Namespaced, AnyFinalizer: true, AllowCreateOnUpdate: true, NoUnconditionalUpdate: true,
	// Coordinated leader election is an alpha feature and off: its fields stay only where an older object has them.
	PrepareCreate: func(_ *kinds.Request, l *coordinationv1.Lease) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil },
	PrepareUpdate: func(_ *kinds.Request, l, old *coordinationv1.Lease) {
		if old.Spec.Strategy == nil {
			l.Spec.Strategy = nil
		}
		if old.Spec.PreferredHolder == nil {
			l.Spec.PreferredHolder = nil
		}
	},
	Validate: validateLease,
	ValidateUpdate: func(req *kinds.Request, l, _ *coordinationv1.Lease) field.ErrorList {
		return validateLease(req, l)
	},
	Columns: []kinds.Column[*coordinationv1.Lease]{
		kinds.NameColumn[*coordinationv1.Lease](),
		{Name: "Holder", Description: kinds.Doc(coordinationv1.LeaseSpec{}, "holderIdentity"),
			Cell: func(l *coordinationv1.Lease) any { return show.Text(l.Spec.HolderIdentity, "") }},
		kinds.AgeColumn[*coordinationv1.Lease](),
	},
})

func validateLease(_ *kinds.Request, lease *coordinationv1.Lease) field.ErrorList {
	var l check.List
	at, spec := field.NewPath("spec"), &lease.Spec
	if n := spec.LeaseDurationSeconds; n != nil && *n <= 0 {
		l.Add(field.Invalid(at.Child("leaseDurationSeconds"), *n, "must be greater than 0"))
	}
	if n := spec.LeaseTransitions; n != nil && *n < 0 {
		l.Add(field.Invalid(at.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	if spec.Strategy != nil {
		strategy(&l, at.Child("strategy"), *spec.Strategy)
	}
	if h := spec.PreferredHolder; h != nil && *h != "" && (spec.Strategy == nil || *spec.Strategy == "") {
		l.Add(field.Forbidden(at.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return l.ErrorList
}

// strategy knows Kubernetes' own; those of others have a domain. The field is named twice in upstream's path.
func strategy(l *check.List, at *field.Path, s coordinationv1.CoordinatedLeaseStrategy) {
	at = at.Child("strategy")
	if strings.Contains(string(s), "/") {
		l.Qualified(at, string(s))
		return
	}
	check.OneOf(l, at, s, coordinationv1.OldestEmulationVersion)
}
