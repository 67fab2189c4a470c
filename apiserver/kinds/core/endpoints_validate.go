package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// endpointIP complains about addresses that no endpoint can have: they mean each machine itself, or none.
func endpointIP(l *check.List, text string, at *field.Path) {
	l.All(EndpointIP(text, at))
}

// EndpointIP is shared with EndpointSlices.
func EndpointIP(text string, at *field.Path) field.ErrorList {
	var l check.List
	ip := utilnet.ParseIPSloppy(text)
	switch {
	case ip == nil:
		l.Add(field.Invalid(at, text, "must be a valid IP address"))
		return l.ErrorList
	case ip.IsUnspecified():
		l.Add(field.Invalid(at, text, fmt.Sprintf("may not be unspecified (%v)", text)))
	}
	if ip.IsLoopback() {
		l.Add(field.Invalid(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
	}
	if ip.IsLinkLocalUnicast() {
		l.Add(field.Invalid(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
	}
	if ip.IsLinkLocalMulticast() {
		l.Add(field.Invalid(at, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
	}
	return l.ErrorList
}

func validateNewEndpoints(_ *kinds.Request, e *corev1.Endpoints) field.ErrorList {
	return validateEndpoints(e)
}

// validateEndpointsUpdate lets old endpoints stay as they are, whatever rules came later.
func validateEndpointsUpdate(_ *kinds.Request, e, old *corev1.Endpoints) field.ErrorList {
	errs := kinds.ValidateMeta(e, kinds.Namespaced, kinds.Subdomain)
	if apiequality.Semantic.DeepEqual(e.Subsets, old.Subsets) {
		return errs
	}
	return append(errs, validateEndpoints(e)...)
}

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
	var l check.List
	for i := range e.Subsets {
		s, at := &e.Subsets[i], field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			l.Add(field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for k := range s.Addresses {
			endpointAddress(&l, &s.Addresses[k], at.Child("addresses").Index(k))
		}
		for k := range s.NotReadyAddresses {
			endpointAddress(&l, &s.NotReadyAddresses[k], at.Child("notReadyAddresses").Index(k))
		}
		for k := range s.Ports {
			endpointPort(&l, &s.Ports[k], len(s.Ports) > 1, at.Child("ports").Index(k))
		}
	}
	return l.ErrorList
}

func endpointAddress(l *check.List, a *corev1.EndpointAddress, at *field.Path) {
	l.All(validation.IsValidIPForLegacyField(at.Child("ip"), a.IP, true, nil))
	if a.Hostname != "" {
		l.Label(at.Child("hostname"), a.Hostname)
	}
	if a.NodeName != nil {
		l.Subdomain(at.Child("nodeName"), *a.NodeName)
	}
	endpointIP(l, a.IP, at.Child("ip"))
}

func endpointPort(l *check.List, p *corev1.EndpointPort, named bool, at *field.Path) {
	if p.Name != "" {
		l.Label(at.Child("name"), p.Name)
	} else if named {
		l.Add(field.Required(at.Child("name"), ""))
	}
	l.Messages(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))
	check.RequiredOneOf(l, at.Child("protocol"), p.Protocol, check.Protocols...)
	if p.AppProtocol != nil {
		l.Qualified(at.Child("appProtocol"), *p.AppProtocol)
	}
}

func endpointsWarnings(_ *kinds.Request, e, old *corev1.Endpoints) []string {
	// Those that the endpoints controller writes are in order, and many.
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	var out []string
	for i := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		for k, a := range e.Subsets[i].Addresses {
			out = append(out, validation.GetWarningsForIP(at.Child("addresses").Index(k).Child("ip"), a.IP)...)
		}
		for k, a := range e.Subsets[i].NotReadyAddresses {
			out = append(out, validation.GetWarningsForIP(at.Child("notReadyAddresses").Index(k).Child("ip"), a.IP)...)
		}
	}
	return out
}
