package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// ports are the ports of the node that lead to pods (hostPort): one file a sandbox, and all of them in one chain.
type ports struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	mapped map[string]mapping // by sandbox
	jumps  map[string]bool    // families whose built-in chains lead to ours
}

type mapping struct {
	Addrs []netip.Addr
	Ports []runtime.PortMapping
}

func (p *ports) init(dir string, log *slog.Logger) {
	p.dir, p.log, p.mapped, p.jumps = dir, log, map[string]mapping{}, map[string]bool{}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		var m mapping
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil || json.Unmarshal(data, &m) != nil {
			os.Remove(filepath.Join(dir, f.Name()))
			continue
		}
		p.mapped[f.Name()] = m
	}
}

// MapPorts opens ports of the node for a sandbox.
func (n *Network) MapPorts(ctx context.Context, id string, addrs []netip.Addr, list []runtime.PortMapping) error {
	list = slices.DeleteFunc(slices.Clone(list), func(m runtime.PortMapping) bool { return m.HostPort <= 0 })
	if len(list) == 0 {
		return nil
	}
	// Lets a connection to the node's own 127.0.0.1 go out to the pod.
	if err := setSysctl("net/ipv4/conf/"+LinkName(id)+"/route_localnet", "1"); err != nil {
		return fmt.Errorf("map ports: %w", err)
	}
	return n.ports.mapPorts(ctx, id, mapping{addrs, list})
}

func (p *ports) mapPorts(ctx context.Context, id string, m mapping) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.dir, id), data, 0o600); err != nil {
		return err
	}
	p.mapped[id] = m
	if err := p.apply(ctx); err != nil {
		return fmt.Errorf("map ports: %w", err)
	}
	forgetUDP(m)
	return nil
}

func (p *ports) unmap(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, ok := p.mapped[id]
	if !ok {
		return nil
	}
	delete(p.mapped, id)
	err := p.apply(context.Background())
	forgetUDP(m)
	if rmErr := os.Remove(filepath.Join(p.dir, id)); !os.IsNotExist(rmErr) {
		err = errors.Join(err, rmErr)
	}
	return err
}

func (p *ports) keep(ids map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.mapped {
		if !ids[id] {
			delete(p.mapped, id)
			os.Remove(filepath.Join(p.dir, id))
		}
	}
	if len(p.mapped) > 0 {
		if err := p.apply(context.Background()); err != nil {
			p.log.Warn("mapped ports could not be set", "error", err)
		}
	}
}

// apply writes both chains anew. It needs mu.
func (p *ports) apply(ctx context.Context) error {
	for _, family := range []string{"iptables", "ip6tables"} {
		rules, any := portRules(p.mapped, family)
		if !any && !p.jumps[family] {
			continue
		}
		if err := restore(ctx, family, rules); err != nil {
			return err
		}
		if p.jumps[family] {
			continue
		}
		for _, from := range []string{"PREROUTING", "OUTPUT"} {
			if err := jump(ctx, family, "nat", from, chainHostPorts, true, "-m", "addrtype", "--dst-type", "LOCAL"); err != nil {
				return err
			}
		}
		if err := jump(ctx, family, "nat", "POSTROUTING", chainHostMasq, true); err != nil {
			return err
		}
		p.jumps[family] = true
	}
	return nil
}

// portRules are the rules of one family as iptables-restore reads them, in a fixed order: the rules with an address go
// before those for all addresses.
func portRules(mapped map[string]mapping, family string) (rules string, any bool) {
	var bound, open, masq []string
	loopback := "127.0.0.0/8"
	if family == "ip6tables" {
		loopback = "::1/128"
	}
	for _, m := range mapped {
		for _, addr := range m.Addrs {
			if addr.Is6() != (family == "ip6tables") {
				continue
			}
			for _, port := range m.Ports {
				hostIP, err := netip.ParseAddr(port.HostIP)
				specific := err == nil && !hostIP.IsUnspecified()
				if specific && hostIP.Is6() != addr.Is6() {
					continue
				}
				proto := strings.ToLower(string(port.Protocol))
				to := netip.AddrPortFrom(addr, uint16(port.ContainerPort))
				rule := fmt.Sprintf("-p %s -m %s --dport %d -j DNAT --to-destination %s\n", proto, proto, port.HostPort, to)
				if specific {
					bound = append(bound, fmt.Sprintf("-A %s -d %s ", chainHostPorts, hostIP)+rule)
				} else {
					open = append(open, fmt.Sprintf("-A %s ", chainHostPorts)+rule)
				}
				// A pod that calls its own port, and the node calling by its loopback address, must see the answer
				// come back through the node.
				for _, from := range []string{addr.String(), loopback} {
					masq = append(masq, fmt.Sprintf("-A %s -s %s -d %s -p %s -m %s --dport %d -j MASQUERADE\n", chainHostMasq, from, addr, proto, proto, port.ContainerPort))
				}
			}
		}
	}
	slices.Sort(bound)
	slices.Sort(open)
	slices.Sort(masq)
	all := slices.Concat(bound, open, slices.Compact(masq))
	return fmt.Sprintf("*nat\n:%s - [0:0]\n:%s - [0:0]\n%sCOMMIT\n", chainHostPorts, chainHostMasq, strings.Join(all, "")), len(all) > 0
}

// forgetUDP makes the kernel forget the flows of UDP ports, which would otherwise go on to where they went before.
func forgetUDP(m mapping) {
	for _, port := range m.Ports {
		if port.Protocol != runtime.UDP {
			continue
		}
		filter := &netlink.ConntrackFilter{}
		if filter.AddProtocol(unix.IPPROTO_UDP) == nil && filter.AddPort(netlink.ConntrackOrigDstPort, uint16(port.HostPort)) == nil {
			// Best effort: a flow ages within half a minute.
			netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
		}
	}
}
