package iptables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/proxy/rules"
)

// state is all rules that should be in the kernel, kept so that a change of one service costs what it touches.
type state struct {
	config   Config
	ports    map[types.NamespacedName][]fragments
	buckets  map[netip.Prefix]map[types.NamespacedName]bool
	external map[types.NamespacedName]bool // services with rules in chains shared by all
	own      map[key][]string              // rules of the chains that belong to one port
	chainOf  map[string]netip.Prefix       // bucket by chain name
	hairpins map[netip.Addr]int            // local endpoint addresses, and how many ports use them
}

func newState(c Config) *state {
	return &state{
		config: c, ports: map[types.NamespacedName][]fragments{}, buckets: map[netip.Prefix]map[types.NamespacedName]bool{},
		external: map[types.NamespacedName]bool{}, hairpins: map[netip.Addr]int{}, own: map[key][]string{}, chainOf: map[string]netip.Prefix{},
	}
}

// set replaces what is known of a service and returns the chains that may have changed: the service's own, and those
// shared ones that it was or is in. A chain that is to go has no entry in the rules made for it.
func (s *state) set(name types.NamespacedName, ports []*rules.Port) map[key]bool {
	dirty := map[key]bool{}
	s.remove(name, dirty)
	if len(ports) == 0 {
		return dirty
	}
	list := make([]fragments, 0, len(ports))
	for _, p := range ports {
		f := render(p, s.config.ClusterCIDRs, s.config.MasqueradeAll)
		list = append(list, f)
		if f.clusterIP != "" {
			if s.buckets[f.bucket] == nil {
				s.buckets[f.bucket] = map[types.NamespacedName]bool{}
				s.chainOf[bucketChain(f.bucket)] = f.bucket
			}
			s.buckets[f.bucket][name] = true
		}
		if len(f.external)+len(f.nodePort)+len(f.refuse) > 0 {
			s.external[name] = true
		}
		for _, a := range f.hairpin {
			s.hairpins[a]++
		}
		maps.Copy(s.own, f.own)
	}
	s.ports[name] = list
	s.touched(list, dirty)
	return dirty
}

func (s *state) remove(name types.NamespacedName, dirty map[key]bool) {
	list := s.ports[name]
	s.touched(list, dirty)
	delete(s.ports, name)
	delete(s.external, name)
	for _, f := range list {
		for k := range f.own {
			delete(s.own, k)
		}
		if b := s.buckets[f.bucket]; b != nil {
			delete(b, name)
			if len(b) == 0 {
				delete(s.buckets, f.bucket)
				delete(s.chainOf, bucketChain(f.bucket))
			}
		}
		for _, a := range f.hairpin {
			if s.hairpins[a]--; s.hairpins[a] == 0 {
				delete(s.hairpins, a)
			}
		}
	}
}

func (s *state) touched(list []fragments, dirty map[key]bool) {
	for _, f := range list {
		for k := range f.own {
			dirty[k] = true
		}
		if f.clusterIP != "" {
			dirty[key{"nat", bucketChain(f.bucket)}] = true
			dirty[key{"nat", servicesChain}] = true
		}
		if len(f.external) > 0 {
			dirty[key{"nat", servicesChain}] = true
		}
		if len(f.nodePort) > 0 {
			dirty[key{"nat", nodePortsChain}] = true
		}
		if len(f.refuse) > 0 {
			dirty[key{"filter", refuseChain}] = true
		}
		if len(f.hairpin) > 0 {
			dirty[key{"nat", hairpinChain}] = true
		}
	}
}

// want makes the rules of the given chains; one that should not exist is missing in the answer.
func (s *state) want(dirty map[key]bool) chains {
	out := chains{}
	shared := map[string]func(chains){
		servicesChain: s.services, nodePortsChain: s.nodePorts, hairpinChain: s.hairpinRules, refuseChain: s.refusals,
	}
	for k := range dirty {
		if make := shared[k.chain]; make != nil {
			out[k] = nil // exists even if empty
			make(out)
		} else if b, ok := s.chainOf[k.chain]; ok {
			s.bucketRules(b, out)
		} else if lines, ok := s.own[k]; ok {
			out[k] = lines
		}
	}
	return out
}

// all makes the rules of every chain of ours.
func (s *state) all() chains {
	dirty := map[key]bool{
		{"nat", servicesChain}: true, {"nat", nodePortsChain}: true, {"nat", hairpinChain}: true, {"filter", refuseChain}: true,
	}
	for b := range s.buckets {
		dirty[key{"nat", bucketChain(b)}] = true
	}
	for k := range s.own {
		dirty[k] = true
	}
	out := s.want(dirty)
	s.frame(out)
	return out
}

func (s *state) services(out chains) {
	for _, b := range slices.SortedFunc(maps.Keys(s.buckets), netip.Prefix.Compare) {
		out.add("nat", servicesChain, "-d %s -j %s", b, bucketChain(b))
	}
	s.eachExternal(func(f *fragments) {
		for _, line := range f.external {
			out.add("nat", servicesChain, "%s", line)
		}
	})
	// Last, since it catches whatever is sent to an address of the node.
	out.add("nat", servicesChain, "-m addrtype --dst-type LOCAL -j %s", nodePortsChain)
}

func (s *state) nodePorts(out chains) {
	s.eachExternal(func(f *fragments) {
		for _, line := range f.nodePort {
			out.add("nat", nodePortsChain, "%s", line)
		}
	})
}

func (s *state) refusals(out chains) {
	s.eachExternal(func(f *fragments) {
		for _, line := range f.refuse {
			out.add("filter", refuseChain, "%s", line)
		}
	})
	// Whatever goes to the service range and was not translated has no endpoint, or no owner.
	for _, cidr := range s.config.ServiceCIDRs {
		// (A reset, because the kernel sends no ICMP error about a packet that was to leave by the loopback device.)
		out.add("filter", refuseChain, "-d %s -p tcp -j REJECT --reject-with tcp-reset", cidr)
		out.add("filter", refuseChain, "-d %s -j REJECT", cidr)
	}
}

func (s *state) hairpinRules(out chains) {
	for _, a := range slices.SortedFunc(maps.Keys(s.hairpins), netip.Addr.Compare) {
		// Of what was translated alone: an endpoint may be the node itself, whose connections to its own address are its own
		// matter. Masquerading those would reset the ones that are older than the rules.
		out.add("nat", hairpinChain, "-s %s -d %s -m conntrack --ctstate DNAT -j MASQUERADE --random-fully", prefixOf(a), prefixOf(a))
	}
}

func (s *state) bucketRules(b netip.Prefix, out chains) {
	names := slices.SortedFunc(maps.Keys(s.buckets[b]), compareNames)
	for _, name := range names {
		for _, f := range s.ports[name] {
			if f.clusterIP != "" && f.bucket == b {
				out.add("nat", bucketChain(b), "%s", f.clusterIP)
			}
		}
	}
}

func (s *state) eachExternal(do func(f *fragments)) {
	for _, name := range slices.SortedFunc(maps.Keys(s.external), compareNames) {
		for i := range s.ports[name] {
			do(&s.ports[name][i])
		}
	}
}

func compareNames(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) }

// frame adds the chains that do not depend on services.
func (s *state) frame(out chains) {
	out.add("nat", masqueradeChain, "-j MARK --or-mark %s", mark)
	out.add("nat", postroutingChain, "-j %s", hairpinChain)
	out.add("nat", postroutingChain, "-m mark ! --mark %s/%s -j RETURN", mark, mark)
	// The mark must not survive: the packet may meet other rules that read it.
	out.add("nat", postroutingChain, "-j MARK --xor-mark %s", mark)
	out.add("nat", postroutingChain, "-j MASQUERADE --random-fully")
	out.add("filter", forwardChain, "-m conntrack --ctstate INVALID -j DROP")
	out.add("filter", forwardChain, "-m mark --mark %s/%s -j ACCEPT", mark, mark)
	out.add("filter", forwardChain, "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	if s.config.LocalNodePorts {
		// route_localnet lets others on the link send to 127.0.0.0/8 of this node: nobody may, but for answers.
		out.add("filter", inputChain, "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP")
	} else {
		out[key{"filter", inputChain}] = nil
	}
}

// jump is a rule in a chain of the kernel's that leads into ours.
type jump struct {
	table, from, rule string
	first             bool
}

var jumps = []jump{
	{"nat", "PREROUTING", "-j " + servicesChain, true},
	{"nat", "OUTPUT", "-j " + servicesChain, true},
	{"nat", "POSTROUTING", "-j " + postroutingChain, true},
	{"filter", "INPUT", "-j " + inputChain, true},
	{"filter", "INPUT", "-m conntrack --ctstate NEW -j " + refuseChain, true},
	{"filter", "FORWARD", "-j " + forwardChain, true},
	{"filter", "FORWARD", "-m conntrack --ctstate NEW -j " + refuseChain, true},
	{"filter", "OUTPUT", "-m conntrack --ctstate NEW -j " + refuseChain, true},
}

// script is the input of iptables-restore --noflush that makes the given chains what they should be and removes gone.
func script(set chains, gone []key) string {
	tables := map[string]bool{}
	for k := range set {
		tables[k.table] = true
	}
	for _, k := range gone {
		tables[k.table] = true
	}
	var b strings.Builder
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		fmt.Fprintf(&b, "*%s\n", table)
		names := slices.SortedFunc(maps.Keys(set), func(x, y key) int { return strings.Compare(x.chain, y.chain) })
		for _, k := range names {
			if k.table == table {
				fmt.Fprintf(&b, ":%s - [0:0]\n", k.chain) // creates it, or empties it
			}
		}
		for _, k := range gone {
			if k.table == table {
				fmt.Fprintf(&b, ":%s - [0:0]\n", k.chain)
			}
		}
		for _, k := range names {
			if k.table != table {
				continue
			}
			for _, line := range set[k] {
				fmt.Fprintf(&b, "-A %s %s\n", k.chain, line)
			}
		}
		for _, k := range gone {
			if k.table == table {
				fmt.Fprintf(&b, "-X %s\n", k.chain)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}
