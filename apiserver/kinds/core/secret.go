package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Secret is what pods read and others should not.
var Secret = kinds.Define(kinds.Row[*corev1.Secret]{
	Resource: "secrets", Scope: kinds.Namespaced,
	Fields:  func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
	Default: prepareSecretData, Validate: validateSecret, ValidateUpdate: validateSecretUpdate, Revalidate: true, Warnings: secretWarnings,
	PrepareUpdate: func(_ *kinds.Request, s, old *corev1.Secret) {
		// A client that leaves the type out means the one that it has.
		if s.Type == "" {
			s.Type = old.Type
		}
	},
	Columns: []kinds.Column[*corev1.Secret]{
		kinds.NameColumn[*corev1.Secret](),
		{Name: "Type", Description: kinds.Doc(corev1.Secret{}, "type"), Cell: func(s *corev1.Secret) any { return string(s.Type) }},
		{Name: "Data", Description: kinds.Doc(corev1.Secret{}, "data"), Cell: func(s *corev1.Secret) any { return int64(len(s.Data)) }},
		kinds.AgeColumn[*corev1.Secret](),
	},
})
