package core

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// Pod is a group of containers that share an address and volumes and run on one node.
var Pod = kinds.Define(kinds.Row[*corev1.Pod]{
	Resource: "pods", ShortNames: []string{"po"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	Fields:         podFields,
	Default:        defaultPod,
	PrepareCreate:  func(req *kinds.Request, p *corev1.Pod) { req.Notes = append(req.Notes, podspec.PrepareNewPod(p)...) },
	PrepareUpdate:  preparePodUpdate,
	Validate:       func(_ *kinds.Request, p *corev1.Pod) field.ErrorList { return podspec.ValidateNewPod(p) },
	ValidateUpdate: func(_ *kinds.Request, p, old *corev1.Pod) field.ErrorList { return podspec.ValidatePodUpdate(p, old) },
	Warnings:       podWarnings,
	PrepareStatus:  preparePodStatus,
	ValidateStatus: func(_ *kinds.Request, p, old *corev1.Pod) field.ErrorList { return podspec.ValidatePodStatus(p, old) },
	StatusWarnings: podStatusWarnings,
	StatusResets:   []string{"spec", "metadata.deletionTimestamp", "metadata.ownerReferences"},
	GracePeriod:    podGracePeriod,
	ReturnDeleted:  true, OwnWritesUnnamed: true,
	RowConditions: podRowConditions,
	Columns:       podColumns(),
	Subresources: map[string]*kinds.Subresource{
		"attach":              connectDoor("PodAttachOptions", "attach", "create", "get"),
		"exec":                connectDoor("PodExecOptions", "exec", "create", "get"),
		"log":                 connectDoor("Pod", "log", "get"),
		"portforward":         connectDoor("PodPortForwardOptions", "portforward", "create", "get"),
		"binding":             bindingDoor,
		"ephemeralcontainers": ephemeralContainersDoor,
		"eviction":            evictionDoor,
		"resize":              resizeDoor,
		"proxy":               connectDoor("PodProxyOptions", "proxy", "create", "delete", "get", "patch", "update"),
	},
})

func connectDoor(kind, connection string, verbs ...string) *kinds.Subresource {
	return &kinds.Subresource{GVK: corev1.SchemeGroupVersion.WithKind(kind), Connect: connection, Verbs: verbs}
}

func podFields(p *corev1.Pod) fields.Set {
	ip, ips := p.Status.PodIP, ""
	for i, one := range p.Status.PodIPs {
		if i == 0 {
			ip = one.IP
		} else {
			ips += ","
		}
		ips += one.IP
	}
	return fields.Set{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             ip,
		"status.podIPs":            ips,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}
