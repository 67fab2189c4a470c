package node

import (
	nodev1 "k8s.io/api/node/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// RuntimeClass names a way to run containers.
var RuntimeClass = kinds.Define(kinds.Row[*nodev1.RuntimeClass]{
	Resource: "runtimeclasses", NoUnconditionalUpdate: true, AllowCreateOnUpdate: true,
	Columns: []kinds.Column[*nodev1.RuntimeClass]{
		kinds.NameColumn[*nodev1.RuntimeClass](),
		{Name: "Handler", Cell: func(c *nodev1.RuntimeClass) any { return c.Handler }},
		kinds.AgeColumn[*nodev1.RuntimeClass](),
	},
})
