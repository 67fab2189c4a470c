package rules

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node is what the rules of a node depend on beside the services.
type Node struct {
	Name string
	// Zone is the value of topology.kubernetes.io/zone, or empty.
	Zone string
}

// Port is one port of a service, in one address family.
type Port struct {
	Service  types.NamespacedName
	Name     string // of the port; may be empty
	Protocol corev1.Protocol
	// ClusterIP is not valid for a port that has none in this family.
	ClusterIP netip.Addr
	Port      uint16
	NodePort  uint16 // 0: none
	// External are externalIPs, Balancer the addresses of the load balancer that are meant to be caught on nodes.
	External, Balancer []netip.Addr
	// SourceRanges limit who may use Balancer; empty means everybody.
	SourceRanges []netip.Prefix
	// AffinitySeconds is how long a client stays with its endpoint; 0: no affinity.
	AffinitySeconds int32
	// LocalOnlyInternal and LocalOnlyExternal are the two traffic policies.
	LocalOnlyInternal, LocalOnlyExternal bool
	// HealthPort is asked by load balancers whether this node has endpoints; 0: none.
	HealthPort uint16

	// Cluster are the endpoints for traffic that may go to any node, Local those on this node. Traffic that is to stay
	// here and finds none is dropped; where Cluster is empty, traffic is refused.
	Cluster, Local []Endpoint
	// LocalReady is the number of ready endpoints on this node, terminating ones not counted.
	LocalReady int
}

// Endpoint is where a connection may go.
type Endpoint struct {
	Addr  netip.AddrPort
	Local bool
}

// Internal are the endpoints for traffic to the ClusterIP.
func (p *Port) Internal() []Endpoint {
	if p.LocalOnlyInternal {
		return p.Local
	}
	return p.Cluster
}

// Key names a port of a service: "namespace/name:port".
func (p *Port) Key() string { return p.Service.String() + ":" + p.Name }

// Compute makes the ports of one service out of its slices. Ports are sorted by name. Services without a ClusterIP
// (headless, ExternalName) and those that are meant for another proxy have none.
func Compute(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node, family corev1.IPFamily) []*Port {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	if _, elsewhere := svc.Labels["service.kubernetes.io/service-proxy-name"]; elsewhere {
		return nil
	}
	clusterIP := ofFamily(append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...), family)
	if len(clusterIP) == 0 {
		return nil
	}
	var out []*Port
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		p := &Port{
			Service: types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, Name: sp.Name, Protocol: sp.Protocol,
			ClusterIP: clusterIP[0], Port: uint16(sp.Port), NodePort: uint16(sp.NodePort),
			External:          ofFamily(svc.Spec.ExternalIPs, family),
			LocalOnlyInternal: svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
			LocalOnlyExternal: svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		}
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			p.AffinitySeconds = 10800 // the API's default
			if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
				p.AffinitySeconds = *c.ClientIP.TimeoutSeconds
			}
		}
		if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
			p.addBalancer(svc, family)
		}
		p.addEndpoints(endpointSlices, sp.Name, node, family)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Port) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func (p *Port) addBalancer(svc *corev1.Service, family corev1.IPFamily) {
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy {
			continue // the balancer wants to see this traffic itself
		}
		p.Balancer = append(p.Balancer, ofFamily([]string{in.IP}, family)...)
	}
	for _, r := range svc.Spec.LoadBalancerSourceRanges {
		if prefix, err := netip.ParsePrefix(r); err == nil && prefix.Addr().Is4() == (family == corev1.IPv4Protocol) {
			p.SourceRanges = append(p.SourceRanges, prefix.Masked())
		}
	}
	if p.LocalOnlyExternal {
		p.HealthPort = uint16(svc.Spec.HealthCheckNodePort)
	}
}

// candidate is an endpoint with what decides whether it is used.
type candidate struct {
	Endpoint
	ready, serving, terminating bool
	zones, nodes                []string // hints
}

// addEndpoints chooses endpoints as upstream's proxy does: those that are ready; if there are none, those that are on
// their way out but still serve. Hints narrow the cluster's endpoints to those meant for this node or zone.
func (p *Port) addEndpoints(list []*discoveryv1.EndpointSlice, portName string, node Node, family corev1.IPFamily) {
	all := candidates(list, portName, node, family)
	var ready, readyLocal, fading, fadingLocal []candidate
	for _, c := range all {
		switch {
		case c.ready:
			ready = append(ready, c)
			if c.Local {
				readyLocal = append(readyLocal, c)
			}
		case c.serving && c.terminating:
			fading = append(fading, c)
			if c.Local {
				fadingLocal = append(fadingLocal, c)
			}
		}
	}
	p.LocalReady = len(readyLocal)
	cluster, local := hinted(ready, node), readyLocal
	if len(ready) == 0 {
		cluster = fading
	}
	if len(local) == 0 {
		local = fadingLocal
	}
	p.Cluster, p.Local = endpoints(cluster), endpoints(local)
}

func endpoints(list []candidate) []Endpoint {
	out := make([]Endpoint, 0, len(list))
	for _, c := range list {
		out = append(out, c.Endpoint)
	}
	return out
}

// candidates are the endpoints of a port, each address once, sorted by address.
func candidates(list []*discoveryv1.EndpointSlice, portName string, node Node, family corev1.IPFamily) []candidate {
	at := map[netip.AddrPort]int{}
	var out []candidate
	for _, slice := range list {
		if string(slice.AddressType) != string(family) {
			continue
		}
		port, ok := portOf(slice, portName)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 {
				continue
			}
			addr, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue
			}
			c := candidate{
				Endpoint: Endpoint{Addr: netip.AddrPortFrom(addr, port), Local: e.NodeName != nil && *e.NodeName == node.Name},
				ready:    e.Conditions.Ready == nil || *e.Conditions.Ready, terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
			}
			c.serving = c.ready
			if e.Conditions.Serving != nil {
				c.serving = *e.Conditions.Serving
			}
			if e.Hints != nil {
				for _, z := range e.Hints.ForZones {
					c.zones = append(c.zones, z.Name)
				}
				for _, n := range e.Hints.ForNodes {
					c.nodes = append(c.nodes, n.Name)
				}
			}
			// An address may be in two slices for a moment while it moves between them: the better state counts.
			if j, twice := at[c.Addr]; twice {
				if c.ready && !out[j].ready {
					out[j] = c
				}
				continue
			}
			at[c.Addr] = len(out)
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int { return a.Addr.Compare(b.Addr) })
	return out
}

func portOf(slice *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, p := range slice.Ports {
		if p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// hinted keeps the endpoints meant for this node, else those for its zone. Hints count only if every endpoint has them and
// at least one is meant for here: otherwise traffic would find nobody.
func hinted(ready []candidate, node Node) []candidate {
	for _, narrow := range []struct {
		hints func(c candidate) []string
		here  string
	}{
		{func(c candidate) []string { return c.nodes }, node.Name},
		{func(c candidate) []string { return c.zones }, node.Zone},
	} {
		if narrow.here == "" {
			continue
		}
		var mine []candidate
		all := true
		for _, c := range ready {
			all = all && len(narrow.hints(c)) > 0
			if slices.Contains(narrow.hints(c), narrow.here) {
				mine = append(mine, c)
			}
		}
		if all && len(mine) > 0 {
			return mine
		}
	}
	return ready
}

func ofFamily(addresses []string, family corev1.IPFamily) []netip.Addr {
	var out []netip.Addr
	for _, s := range addresses {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() == (family == corev1.IPv4Protocol) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
