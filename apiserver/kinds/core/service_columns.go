package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

func serviceColumns() []kinds.Column[*corev1.Service] {
	doc := corev1.ServiceSpec{}
	return []kinds.Column[*corev1.Service]{
		kinds.NameColumn[*corev1.Service](),
		{Name: "Type", Description: kinds.Doc(doc, "type"), Cell: func(s *corev1.Service) any { return string(s.Spec.Type) }},
		{Name: "Cluster-IP", Description: kinds.Doc(doc, "clusterIP"), Cell: func(s *corev1.Service) any {
			if len(s.Spec.ClusterIPs) > 0 {
				return s.Spec.ClusterIPs[0]
			}
			return "<none>"
		}},
		{Name: "External-IP", Description: kinds.Doc(doc, "externalIPs"), Cell: func(s *corev1.Service) any { return externalIPs(s) }},
		{Name: "Port(s)", Description: kinds.Doc(doc, "ports"), Cell: func(s *corev1.Service) any { return servicePorts(s) }},
		kinds.AgeColumn[*corev1.Service](),
		{Name: "Selector", Priority: 1, Description: kinds.Doc(doc, "selector"), Cell: func(s *corev1.Service) any { return show.Labels(s.Spec.Selector) }},
	}
}

func externalIPs(s *corev1.Service) string {
	given := strings.Join(s.Spec.ExternalIPs, ",")
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orNone(given)
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		balanced := loadBalancerAddresses(&s.Status.LoadBalancer)
		switch {
		case given == "" && balanced == "":
			return "<pending>"
		case given == "":
			return balanced
		case balanced == "":
			return given
		}
		return balanced + "," + given
	}
	return "<unknown>"
}

// loadBalancerAddresses lists distinct ingress points, sorted.
func loadBalancerAddresses(status *corev1.LoadBalancerStatus) string {
	var points []string
	for _, in := range status.Ingress {
		switch {
		case in.IP != "":
			points = append(points, in.IP)
		case in.Hostname != "":
			points = append(points, in.Hostname)
		}
	}
	return strings.Join(sortedDistinct(points), ",")
}

func servicePorts(s *corev1.Service) string {
	if len(s.Spec.Ports) == 0 {
		return "<none>"
	}
	texts := make([]string, len(s.Spec.Ports))
	for i, p := range s.Spec.Ports {
		texts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			texts[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return strings.Join(texts, ",")
}
