package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ServiceAccount is the identity that pods act with.
var ServiceAccount = kinds.Define(kinds.Row[*corev1.ServiceAccount]{
	Resource: "serviceaccounts", ReturnDeleted: true, ShortNames: []string{"sa"}, Scope: kinds.Namespaced, Revalidate: true,
	Columns: []kinds.Column[*corev1.ServiceAccount]{
		kinds.NameColumn[*corev1.ServiceAccount](),
		kinds.AgeColumn[*corev1.ServiceAccount](),
	},
	Subresources: map[string]*kinds.Subresource{"token": tokenDoor},
})
