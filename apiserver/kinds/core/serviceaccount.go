package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ServiceAccount is the identity that pods act with.
var ServiceAccount = kinds.Define(kinds.Row[*corev1.ServiceAccount]{
	Resource: "serviceaccounts", ReturnDeleted: true, ShortNames: []string{"sa"}, Scope: kinds.Namespaced, Revalidate: true,
	PrepareCreate: func(_ *kinds.Request, sa *corev1.ServiceAccount) { nameSecretsOnly(sa) },
	PrepareUpdate: func(_ *kinds.Request, sa, _ *corev1.ServiceAccount) { nameSecretsOnly(sa) },
	Warnings:      serviceAccountWarnings,
	Columns: []kinds.Column[*corev1.ServiceAccount]{
		kinds.NameColumn[*corev1.ServiceAccount](),
		kinds.AgeColumn[*corev1.ServiceAccount](),
	},
	Subresources: map[string]*kinds.Subresource{"token": tokenDoor},
})
