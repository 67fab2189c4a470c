package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/proxy/rules"
)

// Names of our chains. They share a prefix, which nobody else may use: what has it and is not known is removed.
const (
	servicesChain    = "SKIFF-P-SERVICES"
	nodePortsChain   = "SKIFF-P-NODEPORTS"
	postroutingChain = "SKIFF-P-POSTROUTING"
	hairpinChain     = "SKIFF-P-HAIRPIN"
	masqueradeChain  = "SKIFF-P-MARK-MASQ"
	refuseChain      = "SKIFF-P-REFUSE"
	forwardChain     = "SKIFF-P-FORWARD"
	inputChain       = "SKIFF-P-INPUT"

	// mark is the firewall mark of packets whose source has to be replaced; upstream's bit.
	mark = "0x4000"
)

// key names a chain in a table.
type key struct{ table, chain string }

// chains are the rules of chains, without "-A CHAIN".
type chains map[key][]string

func (c chains) add(table, chain string, format string, args ...any) {
	k := key{table, chain}
	c[k] = append(c[k], fmt.Sprintf(format, args...))
}

// portChain is the name of a chain that belongs to one port: short enough for the kernel (28 characters) and derived
// from the port, so that it is the same after a restart.
func portChain(kind string, p *rules.Port, extra string) string {
	return "SKIFF-P-" + kind + "-" + hash(p.Key()+"/"+string(p.Protocol)+"/"+extra)
}

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return base32.StdEncoding.EncodeToString(h[:])[:16]
}

// bucketOf is the /24 (IPv6: /120) that an address is looked up in.
func bucketOf(a netip.Addr) netip.Prefix {
	prefix, err := a.Prefix(a.BitLen() - 8)
	if err != nil {
		panic(fmt.Sprintf("iptables: %v has no bucket: %v", a, err)) // no address is shorter than 8 bits
	}
	return prefix
}

func bucketChain(b netip.Prefix) string {
	if b.Addr().Is4() {
		return "SKIFF-P-IP-" + b.Addr().String()
	}
	return "SKIFF-P-IP-" + hash(b.String()) // an IPv6 address is too long for a name
}

// fragments are what one port adds to the tables.
type fragments struct {
	own chains // chains that belong to the port alone
	// lookups are rules of shared chains.
	bucket             netip.Prefix
	clusterIP          string // rule in the bucket's chain
	external, nodePort []string
	refuse             []string // filter table: for traffic from outside that finds nobody
	hairpin            []netip.Addr
}

// match is the part of a rule that selects an address and a port.
func match(a netip.Addr, p corev1.Protocol, port uint16) string {
	proto := strings.ToLower(string(p))
	return fmt.Sprintf("-d %s -p %s -m %s --dport %d", prefixOf(a), proto, proto, port)
}

func prefixOf(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// render makes the rules of a port.
func render(p *rules.Port, clusterCIDRs []netip.Prefix, masqueradeAll bool) fragments {
	f := fragments{own: chains{}, bucket: bucketOf(p.ClusterIP)}
	internal := p.Internal()
	comment := fmt.Sprintf(`-m comment --comment "%s"`, p.Key())
	if len(internal) > 0 {
		chain := portChain("SVC", p, "internal")
		f.clusterIP = fmt.Sprintf("%s %s -j %s", match(p.ClusterIP, p.Protocol, p.Port), comment, chain)
		at := match(p.ClusterIP, p.Protocol, p.Port)
		if masqueradeAll {
			f.own.add("nat", chain, "%s -j %s", at, masqueradeChain)
		} else {
			// From outside of the pod network, answers would not find their way back through this node.
			for _, cidr := range clusterCIDRs {
				f.own.add("nat", chain, "! -s %s %s -j %s", cidr, at, masqueradeChain)
			}
		}
		f.balance(p, chain, internal)
	}
	f.outside(p, comment, clusterCIDRs)
	for _, list := range [][]rules.Endpoint{p.Cluster, p.Local} {
		for _, e := range list {
			if e.Local && !slices.Contains(f.hairpin, e.Addr.Addr()) {
				f.hairpin = append(f.hairpin, e.Addr.Addr())
			}
		}
	}
	return f
}

// outside makes the rules for node ports, external and balancer addresses.
func (f *fragments) outside(p *rules.Port, comment string, clusterCIDRs []netip.Prefix) {
	if p.NodePort == 0 && len(p.External) == 0 && len(p.Balancer) == 0 {
		return
	}
	reachable := len(p.Cluster) > 0
	if p.LocalOnlyExternal {
		reachable = len(p.Local) > 0 || len(p.Cluster) > 0 && len(clusterCIDRs) > 0
	}
	proto := strings.ToLower(string(p.Protocol))
	if !reachable {
		verdict := "REJECT"
		for _, a := range append(slices.Clone(p.External), p.Balancer...) {
			f.refuse = append(f.refuse, fmt.Sprintf("%s %s -j %s", match(a, p.Protocol, p.Port), comment, verdict))
		}
		if p.NodePort != 0 {
			f.refuse = append(f.refuse, fmt.Sprintf("-m addrtype --dst-type LOCAL -p %s -m %s --dport %d %s -j %s", proto, proto, p.NodePort, comment, verdict))
		}
		return
	}
	chain := f.externalChain(p, clusterCIDRs)
	for _, a := range p.External {
		f.external = append(f.external, fmt.Sprintf("%s %s -j %s", match(a, p.Protocol, p.Port), comment, chain))
	}
	for _, a := range p.Balancer {
		if len(p.SourceRanges) == 0 {
			f.external = append(f.external, fmt.Sprintf("%s %s -j %s", match(a, p.Protocol, p.Port), comment, chain))
			continue
		}
		for _, r := range p.SourceRanges {
			f.external = append(f.external, fmt.Sprintf("-s %s %s %s -j %s", r, match(a, p.Protocol, p.Port), comment, chain))
		}
		f.refuse = append(f.refuse, fmt.Sprintf("%s %s -j DROP", match(a, p.Protocol, p.Port), comment))
	}
	if p.NodePort != 0 {
		f.nodePort = append(f.nodePort, fmt.Sprintf("-p %s -m %s --dport %d %s -j %s", proto, proto, p.NodePort, comment, chain))
	}
}

// externalChain handles traffic that came to an address of the outside.
func (f *fragments) externalChain(p *rules.Port, clusterCIDRs []netip.Prefix) string {
	chain := portChain("EXT", p, "")
	cluster := portChain("SVC", p, "internal")
	if p.LocalOnlyInternal {
		cluster = portChain("SVC", p, "cluster")
		f.balance(p, cluster, p.Cluster)
	}
	if !p.LocalOnlyExternal {
		f.own.add("nat", chain, "-j %s", masqueradeChain)
		f.own.add("nat", chain, "-j %s", cluster)
		return chain
	}
	if len(p.Cluster) > 0 {
		// Pods, and the node itself, are inside: the policy is not for them.
		for _, cidr := range clusterCIDRs {
			f.own.add("nat", chain, "-s %s -j %s", cidr, cluster)
		}
		f.own.add("nat", chain, "-m addrtype --src-type LOCAL -j %s", masqueradeChain)
		f.own.add("nat", chain, "-m addrtype --src-type LOCAL -j %s", cluster)
	}
	if len(p.Local) > 0 {
		local := portChain("SVL", p, "")
		f.balance(p, local, p.Local)
		f.own.add("nat", chain, "-j %s", local)
	}
	return chain
}

// balance gives every endpoint the same share of the connections.
func (f *fragments) balance(p *rules.Port, chain string, list []rules.Endpoint) {
	proto := strings.ToLower(string(p.Protocol))
	target := func(e rules.Endpoint) string { return fmt.Sprintf("-p %s -j DNAT --to-destination %s", proto, e.Addr) }
	if p.AffinitySeconds > 0 {
		for _, e := range list {
			sep := portChain("SEP", p, e.Addr.String())
			if len(f.own[key{"nat", sep}]) == 0 {
				f.own.add("nat", sep, "-p %s -m recent --name %s --set -j DNAT --to-destination %s", proto, sep, e.Addr)
			}
			f.own.add("nat", chain, "-m recent --name %s --rcheck --seconds %d --reap -j %s", sep, p.AffinitySeconds, sep)
		}
		target = func(e rules.Endpoint) string { return "-j " + portChain("SEP", p, e.Addr.String()) }
	}
	for i, e := range list {
		if left := len(list) - i; left > 1 {
			f.own.add("nat", chain, "-m statistic --mode random --probability %s %s", strconv.FormatFloat(1/float64(left), 'f', 11, 64), target(e))
			continue
		}
		f.own.add("nat", chain, "%s", target(e))
	}
}
