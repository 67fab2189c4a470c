package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// ConfigMap is configuration that pods read as files or variables.
var ConfigMap = kinds.Define(kinds.Row[*corev1.ConfigMap]{
	Resource: "configmaps", ShortNames: []string{"cm"}, Scope: kinds.Namespaced,
	Validate: validateConfigMap, ValidateUpdate: validateConfigMapUpdate, Revalidate: true,
	Columns: []kinds.Column[*corev1.ConfigMap]{
		kinds.NameColumn[*corev1.ConfigMap](),
		{Name: "Data", Description: kinds.Doc(corev1.ConfigMap{}, "data"),
			Cell: func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) }},
		kinds.AgeColumn[*corev1.ConfigMap](),
	},
})
