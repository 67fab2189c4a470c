package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Service is a stable address in front of pods.
var Service = kinds.Define(kinds.Row[*corev1.Service]{
	Resource: "services", ReturnDeleted: true, ShortNames: []string{"svc"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	EtcdPrefix: "services/specs", Generation: kinds.GenerationNever, Name: kinds.Label1035, AllowCreateOnUpdate: true,
	Fields: func(s *corev1.Service) fields.Set {
		return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
	},
	Default: defaultService,
	Columns: serviceColumns(),
	Subresources: map[string]*kinds.Subresource{
		"proxy": connectDoor("ServiceProxyOptions", "proxy", "create", "delete", "get", "patch", "update"),
	},
})
