package networking

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// Ingress routes HTTP from outside to Services.
var Ingress = kinds.Define(kinds.Row[*networkingv1.Ingress]{
	Resource: "ingresses", ShortNames: []string{"ing"}, Scope: kinds.Namespaced, EtcdPrefix: "ingress",
	Validate: validateNewIngress, ValidateUpdate: validateIngressUpdate, Warnings: ingressWarnings,
	ValidateStatus: validateIngressStatus, StatusWarnings: ingressStatusWarnings,
	Columns: []kinds.Column[*networkingv1.Ingress]{
		kinds.NameColumn[*networkingv1.Ingress](),
		{Name: "Class", Description: "The name of the IngressClass resource that should be used for additional configuration",
			Cell: func(i *networkingv1.Ingress) any { return ingressClassText(i) }},
		{Name: "Hosts", Description: "Hosts that incoming requests are matched against before the ingress rule",
			Cell: func(i *networkingv1.Ingress) any { return hostsText(i.Spec.Rules) }},
		{Name: "Address", Description: "Address is a list containing ingress points for the load-balancer",
			Cell: func(i *networkingv1.Ingress) any { return addressText(i.Status.LoadBalancer.Ingress) }},
		{Name: "Ports", Description: "Ports of TLS configurations that open", Cell: func(i *networkingv1.Ingress) any {
			if len(i.Spec.TLS) > 0 {
				return "80, 443"
			}
			return "80"
		}},
		kinds.AgeColumn[*networkingv1.Ingress](),
	},
})

// ingressClassText does not look at the annotation of old, like upstream's table.
func ingressClassText(i *networkingv1.Ingress) string {
	return show.Text(i.Spec.IngressClassName, "<none>")
}

func hostsText(rules []networkingv1.IngressRule) string {
	const most = 3
	var hosts []string
	more := false
	for _, r := range rules {
		if len(hosts) == most {
			more = true
		}
		if !more && r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	text := strings.Join(hosts, ",")
	if more {
		return text + " + more..."
	}
	return text
}

func addressText(points []networkingv1.IngressLoadBalancerIngress) string {
	seen := map[string]bool{}
	var out []string
	for _, p := range points {
		text := p.IP
		if text == "" {
			text = p.Hostname
		}
		if text != "" && !seen[text] {
			seen[text] = true
			out = append(out, text)
		}
	}
	return strings.Join(out, ",")
}

// IngressClass names an ingress controller.
var IngressClass = kinds.Define(kinds.Row[*networkingv1.IngressClass]{
	Resource: "ingressclasses", Generation: kinds.GenerationAlways,
	Default: defaultIngressClass, Validate: validateIngressClass, ValidateUpdate: validateIngressClassUpdate, Revalidate: true,
	Columns: []kinds.Column[*networkingv1.IngressClass]{
		kinds.NameColumn[*networkingv1.IngressClass](),
		{Name: "Controller", Description: "Controller that is responsible for handling this class",
			Cell: func(c *networkingv1.IngressClass) any { return c.Spec.Controller }},
		{Name: "Parameters", Description: "A reference to a resource with additional parameters", Cell: func(c *networkingv1.IngressClass) any {
			p := c.Spec.Parameters
			if p == nil {
				return "<none>"
			}
			text := p.Kind
			if p.APIGroup != nil {
				text += "." + *p.APIGroup
			}
			return text + "/" + p.Name
		}},
		kinds.AgeColumn[*networkingv1.IngressClass](),
	},
})

// NetworkPolicy says which traffic pods accept and send.
var NetworkPolicy = kinds.Define(kinds.Row[*networkingv1.NetworkPolicy]{
	Resource: "networkpolicies", ShortNames: []string{"netpol"}, Scope: kinds.Namespaced, Generation: kinds.GenerationAlways,
	Default: defaultNetworkPolicy, Validate: validateNewPolicy, ValidateUpdate: validatePolicyUpdate, Warnings: policyWarnings,
	Columns: []kinds.Column[*networkingv1.NetworkPolicy]{
		kinds.NameColumn[*networkingv1.NetworkPolicy](),
		{Name: "Pod-Selector", Description: kinds.Doc(networkingv1.NetworkPolicySpec{}, "podSelector"),
			Cell: func(p *networkingv1.NetworkPolicy) any { return show.Selector(&p.Spec.PodSelector) }},
		kinds.AgeColumn[*networkingv1.NetworkPolicy](),
	},
})
