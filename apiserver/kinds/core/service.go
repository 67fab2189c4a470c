package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Service is a stable address in front of pods. Its addresses and node ports are reserved in Begin, before it is written,
// and given back after it has changed or gone; see package alloc.
var Service = kinds.Define(kinds.Row[*corev1.Service]{
	Resource: "services", ShortNames: []string{"svc"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	EtcdPrefix: "services/specs", Generation: kinds.GenerationNever, Name: kinds.Label, AllowCreateOnUpdate: true,
	ReturnDeleted: true,
	Fields: func(s *corev1.Service) fields.Set {
		return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
	},
	Columns:        serviceColumns(),
	Default:        defaultService,
	Begin:          beginService,
	PrepareCreate:  dropUseless,
	PrepareUpdate:  dropTypeDependent,
	Validate:       validateNewService,
	ValidateUpdate: validateServiceUpdate,
	ValidateStatus: validateServiceStatus,
	Warnings:       serviceWarnings,
	StatusWarnings: serviceStatusWarnings,
	Subresources: map[string]*kinds.Subresource{
		"proxy": connectDoor("ServiceProxyOptions", "proxy", "create", "delete", "get", "patch", "update"),
	},
})

func headless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

func external(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeExternalName }

func balanced(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeLoadBalancer }

// hasNodePorts says whether a Service's ports are open on every node.
func hasNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || balanced(s)
}

// givesNodePorts says whether ports that a client left open get one: a load balancer may do without.
func givesNodePorts(s *corev1.Service) bool {
	if balanced(s) {
		return s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	}
	return s.Spec.Type == corev1.ServiceTypeNodePort
}

// needsHealthCheck: a balancer that keeps the client's address asks each node whether it has an endpoint.
func needsHealthCheck(s *corev1.Service) bool {
	return balanced(s) && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}
