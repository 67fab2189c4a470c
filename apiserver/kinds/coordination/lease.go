package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// Lease says who holds something and until when.
var Lease = kinds.Define(kinds.Row[*coordinationv1.Lease]{
	Resource: "leases", Scope: kinds.Namespaced, AllowCreateOnUpdate: true, NoUnconditionalUpdate: true,
	Columns: []kinds.Column[*coordinationv1.Lease]{
		kinds.NameColumn[*coordinationv1.Lease](),
		{Name: "Holder", Description: kinds.Doc(coordinationv1.LeaseSpec{}, "holderIdentity"),
			Cell: func(l *coordinationv1.Lease) any { return show.Text(l.Spec.HolderIdentity, "") }},
		kinds.AgeColumn[*coordinationv1.Lease](),
	},
})
