// Package conntrack removes the kernel's memory of UDP flows whose rules have changed. For TCP the peer notices; a UDP
// client that goes on sending from the same port would be held to an endpoint that is gone, or to "nobody", for as long as
// it sends.
package conntrack

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/proxy/rules"
)

// Flow names flows to forget: those that were sent to Dst (an address of a service; not valid for any address, as with
// node ports) and Port. If Endpoint is valid only those that were translated to it.
type Flow struct {
	Dst      netip.Addr
	Port     uint16
	Endpoint netip.AddrPort
}

// Stale lists the flows to forget when the ports of a service change from old to new: those to endpoints that are gone,
// and, where there was no endpoint before, those that had been let through untranslated.
func Stale(old, new []*rules.Port) []Flow {
	var out []Flow
	now := map[string]*rules.Port{}
	for _, p := range new {
		now[p.Key()+string(p.Protocol)] = p
	}
	was := map[string]bool{}
	for _, p := range old {
		if p.Protocol != corev1.ProtocolUDP {
			continue
		}
		next := now[p.Key()+string(p.Protocol)]
		was[p.Key()] = len(p.Cluster)+len(p.Local) > 0
		for _, e := range union(p) {
			if next == nil || next.ClusterIP != p.ClusterIP || next.Port != p.Port || next.NodePort != p.NodePort || !has(next, e) {
				out = append(out, flows(p, e)...)
			}
		}
	}
	for _, p := range new {
		if p.Protocol == corev1.ProtocolUDP && !was[p.Key()] && len(union(p)) > 0 {
			out = append(out, flows(p, netip.AddrPort{})...)
		}
	}
	return out
}

func flows(p *rules.Port, endpoint netip.AddrPort) []Flow {
	out := []Flow{{p.ClusterIP, p.Port, endpoint}}
	for _, a := range p.External {
		out = append(out, Flow{a, p.Port, endpoint})
	}
	for _, a := range p.Balancer {
		out = append(out, Flow{a, p.Port, endpoint})
	}
	if p.NodePort != 0 {
		out = append(out, Flow{netip.Addr{}, p.NodePort, endpoint})
	}
	return out
}

func union(p *rules.Port) []netip.AddrPort {
	var out []netip.AddrPort
	for _, e := range p.Cluster {
		out = append(out, e.Addr)
	}
	for _, e := range p.Local {
		out = append(out, e.Addr)
	}
	return out
}

func has(p *rules.Port, a netip.AddrPort) bool {
	for _, b := range union(p) {
		if a == b {
			return true
		}
	}
	return false
}

// Forget removes the flows from the kernel's table and says how many there were. It needs CAP_NET_ADMIN.
func Forget(list []Flow, family corev1.IPFamily) (uint, error) {
	if len(list) == 0 {
		return 0, nil
	}
	inet := netlink.InetFamily(unix.AF_INET)
	if family == corev1.IPv6Protocol {
		inet = unix.AF_INET6
	}
	n, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, inet, matcher(list))
	if err != nil {
		return n, fmt.Errorf("forget UDP flows: %w", err)
	}
	return n, nil
}

type matcher []Flow

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m matcher) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	for _, w := range m {
		if f.Forward.DstPort != w.Port || w.Dst.IsValid() && addr(f.Forward.DstIP) != w.Dst {
			continue
		}
		if !w.Endpoint.IsValid() || addr(f.Reverse.SrcIP) == w.Endpoint.Addr() && f.Reverse.SrcPort == w.Endpoint.Port() {
			return true
		}
	}
	return false
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
