package core

import (
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// LimitRange bounds and fills in the resources of a namespace's pods and claims.
var LimitRange = kinds.Define(kinds.Row[*corev1.LimitRange]{
	Resource: "limitranges", ShortNames: []string{"limits"}, Scope: kinds.Namespaced,
	Validate: validateLimitRange, Revalidate: true, AllowCreateOnUpdate: true,
	Default: defaultLimitRange,
	PrepareCreate: func(_ *kinds.Request, l *corev1.LimitRange) {
		if l.Name == "" {
			l.Name = uuid.NewString()
		}
	},
	Columns: kinds.PlainColumns[*corev1.LimitRange](),
})
