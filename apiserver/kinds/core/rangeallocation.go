package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// RangeAllocation keeps which ports of the nodes are taken. It is stored for hooks and served to nobody.
var RangeAllocation = rangeAllocation()

func rangeAllocation() *kinds.Kind {
	k := kinds.Define(kinds.Row[*corev1.RangeAllocation]{
		Resource: "rangeallocations", EtcdPrefix: "ranges", Generation: kinds.GenerationNever, Name: kinds.AnyName,
		Columns: kinds.PlainColumns[*corev1.RangeAllocation](),
	})
	k.Internal = true
	return k
}
