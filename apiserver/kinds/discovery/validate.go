package discovery

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/equal"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/core"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// How much one slice may hold.
const (
	mostAddresses = 100
	mostPorts     = 20000
	mostEndpoints = 1000
	mostHints     = 8
	mostTopology  = 16
)

var (
	addressTypePath = field.NewPath("addressType")
	endpointsPath   = field.NewPath("endpoints")
	portsPath       = field.NewPath("ports")
)

func validateNew(_ *kinds.Request, s *discoveryv1.EndpointSlice) field.ErrorList {
	var l check.List
	check.RequiredOneOf(&l, addressTypePath, s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	ports(&l, s.Ports)
	endpoints(&l, s)
	return l.ErrorList
}

// validateUpdate lets endpoints stay as they are, whatever rules came later.
func validateUpdate(_ *kinds.Request, s, old *discoveryv1.EndpointSlice) field.ErrorList {
	var l check.List
	l.All(kinds.ValidateMeta(s, kinds.Namespaced, kinds.Subdomain))
	if s.AddressType != old.AddressType {
		l.Require(addressTypePath, string(s.AddressType))
		l.Fixed(addressTypePath)
	}
	ports(&l, s.Ports)
	if !equal.Semantic(&s.Endpoints, &old.Endpoints) {
		endpoints(&l, s)
	}
	return l.ErrorList
}

func ports(l *check.List, list []discoveryv1.EndpointPort) {
	if len(list) > mostPorts {
		l.Add(field.TooMany(portsPath, len(list), mostPorts))
		return
	}
	seen := map[string]bool{}
	for i := range list {
		p, at := &list[i], portsPath.Index(i)
		name := *p.Name
		if name != "" {
			l.Label(at.Child("name"), name)
		}
		if seen[name] {
			l.Add(field.Duplicate(at.Child("name"), name))
		}
		seen[name] = true
		check.OneOf(l, at.Child("protocol"), *p.Protocol, check.Protocols...)
		if p.AppProtocol != nil {
			l.Qualified(at.Child("appProtocol"), *p.AppProtocol)
		}
	}
}

func endpoints(l *check.List, s *discoveryv1.EndpointSlice) {
	if len(s.Endpoints) > mostEndpoints {
		l.Add(field.TooMany(endpointsPath, len(s.Endpoints), mostEndpoints))
		return
	}
	for i := range s.Endpoints {
		e, at := &s.Endpoints[i], endpointsPath.Index(i)
		addresses(l, at.Child("addresses"), e.Addresses, s.AddressType)
		if e.NodeName != nil {
			l.Subdomain(at.Child("nodeName"), *e.NodeName)
		}
		if len(e.DeprecatedTopology) > mostTopology {
			l.Add(field.TooMany(at.Child("deprecatedTopology"), len(e.DeprecatedTopology), mostTopology))
		}
		l.Labels(at.Child("deprecatedTopology"), e.DeprecatedTopology)
		if e.Hostname != nil {
			l.Label(at.Child("hostname"), *e.Hostname)
		}
		if e.Hints != nil {
			hints(l, e.Hints, at.Child("hints"))
		}
	}
}

func addresses(l *check.List, at *field.Path, list []string, family discoveryv1.AddressType) {
	if len(list) == 0 {
		l.Add(field.Required(at, ""))
	}
	if len(list) > mostAddresses {
		l.Add(field.TooMany(at, len(list), mostAddresses))
	}
	for i, a := range list {
		switch family {
		case discoveryv1.AddressTypeIPv4:
			address(l, at, i, a, validation.IsValidIPForLegacyField(at.Index(i), a, true, nil), utilnet.IsIPv4String, "must be an IPv4 address")
		case discoveryv1.AddressTypeIPv6:
			address(l, at, i, a, validation.IsValidIP(at.Index(i), a), utilnet.IsIPv6String, "must be an IPv6 address")
		case discoveryv1.AddressTypeFQDN:
			l.All(validation.IsFullyQualifiedDomainName(at.Index(i), a))
		}
	}
}

func address(l *check.List, at *field.Path, i int, text string, wrong field.ErrorList, ofFamily func(string) bool, otherwise string) {
	if len(wrong) > 0 {
		l.All(wrong)
		return
	}
	if !ofFamily(text) {
		l.Add(field.Invalid(at, text, otherwise))
	}
	l.All(core.EndpointIP(text, at.Index(i)))
}

func hints(l *check.List, h *discoveryv1.EndpointHints, at *field.Path) {
	zones := make([]string, len(h.ForZones))
	for i := range h.ForZones {
		zones[i] = h.ForZones[i].Name
	}
	nodes := make([]string, len(h.ForNodes))
	for i := range h.ForNodes {
		nodes[i] = h.ForNodes[i].Name
	}
	if hintNames(l, at.Child("forZones"), zones, validation.IsValidLabelValue) {
		hintNames(l, at.Child("forNodes"), nodes, validation.IsDNS1123Subdomain)
	}
}

// hintNames returns whether there are few enough to look at.
func hintNames(l *check.List, at *field.Path, names []string, rule func(string) []string) bool {
	if len(names) > mostHints {
		l.Add(field.TooMany(at, len(names), mostHints))
		return false
	}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			l.Add(field.Duplicate(at.Index(i).Child("name"), name))
		}
		l.Rule(at.Index(i).Child("name"), name, rule)
	}
	return true
}

// dropTopology: topology labels are the old API's. A node that only they name is kept as nodeName, so that a partial
// update of an old object loses nothing.
func dropTopology(s, old *discoveryv1.EndpointSlice) {
	if old != nil && equal.Semantic(&old.Endpoints, &s.Endpoints) {
		return
	}
	before := map[string]bool{}
	if old != nil {
		for i := range old.Endpoints {
			if name := old.Endpoints[i].DeprecatedTopology[corev1.LabelHostname]; name != "" {
				before[name] = true
			}
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		name := e.DeprecatedTopology[corev1.LabelHostname]
		if e.NodeName == nil && before[name] && len(validation.IsDNS1123Subdomain(name)) == 0 {
			e.NodeName = &name
		}
		e.DeprecatedTopology = nil
	}
}

// ownManagers write addresses in their one right form, and many of them.
var ownManagers = []string{"endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"}

func warnings(_ *kinds.Request, s, old *discoveryv1.EndpointSlice) []string {
	var out []string
	if old == nil && s.AddressType == discoveryv1.AddressTypeFQDN {
		out = append(out, "spec.addressType: FQDN endpoints are deprecated")
	}
	if slices.Contains(ownManagers, s.Labels[discoveryv1.LabelManagedBy]) {
		return out
	}
	for i := range s.Endpoints {
		for j, a := range s.Endpoints[i].Addresses {
			out = append(out, validation.GetWarningsForIP(endpointsPath.Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return out
}
