package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Attach connects the network namespace of a sandbox and returns its addresses, one of each range. inside calls a
// function with the calling thread in that namespace. On error nothing is left.
func (n *Network) Attach(id string, netns *os.File, inside func(func() error) error) (addrs []netip.Addr, err error) {
	addrs, err = n.ipam.take(id)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Detach(id)
		}
	}()
	mac := podMAC(addrs[0])
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: LinkName(id), MTU: n.podMTU(), HardwareAddr: gatewayMAC, TxQLen: 1000})
	pair.PeerName, pair.PeerHardwareAddr, pair.PeerNamespace = podLink, mac, netlink.NsFd(netns.Fd())
	pair.PeerMTU = uint32(n.podMTU())
	if err := n.nl.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make veth pair: %w", err)
	}
	if err := inside(func() error { return n.configurePod(addrs) }); err != nil {
		return nil, fmt.Errorf("network inside the pod: %w", err)
	}
	if err := n.configureNode(pair, addrs, mac); err != nil {
		return nil, fmt.Errorf("network of the pod on the node: %w", err)
	}
	return addrs, nil
}

func (n *Network) podMTU() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mtu
}

// podMAC derives the address from the first IP, so that a packet capture can be read.
func podMAC(addr netip.Addr) net.HardwareAddr {
	b := addr.AsSlice()
	return append(net.HardwareAddr{0x0a, 0x58}, b[len(b)-4:]...)
}

// configurePod runs in the pod's namespace: loopback, address, and the gateway as the only neighbour.
func (n *Network) configurePod(addrs []netip.Addr) error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	if err := upLoopback(nl); err != nil {
		return err
	}
	link, err := nl.LinkByName(podLink)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if err := nl.AddrAdd(link, &netlink.Addr{IPNet: host(addr), Flags: noDAD(addr)}); err != nil {
			return fmt.Errorf("add address %s: %w", addr, err)
		}
	}
	if err := nl.LinkSetUp(link); err != nil {
		return err
	}
	index := link.Attrs().Index
	for _, addr := range addrs {
		gw := n.gatewayFor(addr)
		if err := nl.NeighSet(neighbour(index, gw, gatewayMAC)); err != nil {
			return fmt.Errorf("add neighbour %s: %w", gw, err)
		}
		if err := nl.RouteAdd(&netlink.Route{LinkIndex: index, Dst: host(gw), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route to %s: %w", gw, err)
		}
		if err := nl.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gw.AsSlice(), Dst: anywhere(gw)}); err != nil {
			return fmt.Errorf("default route: %w", err)
		}
	}
	return nil
}

func upLoopback(nl *netlink.Handle) error {
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return err
	}
	return nl.LinkSetUp(lo)
}

// Loopback brings up the loopback interface of the calling thread's namespace.
func Loopback() error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	return upLoopback(nl)
}

func anywhere(gw netip.Addr) *net.IPNet {
	if gw.Is6() {
		return ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	return ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
}

func (n *Network) gatewayFor(addr netip.Addr) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.cidrs {
		if c.Contains(addr) {
			return gateway(c)
		}
	}
	return netip.Addr{}
}

func neighbour(link int, addr netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: link, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac}
}

// configureNode routes the pod's addresses to its pair.
func (n *Network) configureNode(pair *netlink.Veth, addrs []netip.Addr, mac net.HardwareAddr) error {
	if pair.Attrs().Index == 0 {
		link, err := n.nl.LinkByName(pair.Name)
		if err != nil {
			return err
		}
		pair.LinkAttrs.Index = link.Attrs().Index
	}
	if err := n.nl.LinkSetUp(pair); err != nil {
		return err
	}
	for _, addr := range addrs {
		if err := n.nl.NeighSet(neighbour(pair.Attrs().Index, addr, mac)); err != nil {
			return fmt.Errorf("add neighbour %s: %w", addr, err)
		}
		route := &netlink.Route{LinkIndex: pair.Attrs().Index, Dst: host(addr), Scope: netlink.SCOPE_LINK, Protocol: routeProtocol, Src: n.gatewayFor(addr).AsSlice()}
		if err := n.nl.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s: %w", addr, err)
		}
	}
	return nil
}

// Detach takes the sandbox's interface, mapped ports and addresses back. What is gone is no error.
func (n *Network) Detach(id string) error {
	ports := n.ports.unmap(id)
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: LinkName(id)}}
	err := n.nl.LinkDel(link)
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		err = n.delByName(link.Name)
	}
	if err != nil {
		err = fmt.Errorf("remove %s: %w", link.Name, err)
	}
	return errors.Join(ports, err, n.ipam.release(id))
}

func (n *Network) delByName(name string) error {
	link, err := n.nl.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return err
	}
	err = n.nl.LinkDel(link)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// Keep gives back the addresses, ports and interfaces of sandboxes that are not among ids: those that a crash of the
// agent left behind.
func (n *Network) Keep(ids []string) {
	known := map[string]bool{}
	names := map[string]bool{}
	for _, id := range ids {
		known[id], names[LinkName(id)] = true, true
	}
	n.ipam.releaseExcept(known)
	n.ports.keep(known)
	links, err := n.nl.LinkList()
	if err != nil {
		n.log.Warn("interfaces could not be listed", "error", err)
		return
	}
	for _, link := range links {
		name := link.Attrs().Name
		if len(name) == 14 && name[:2] == "sk" && slices.Equal(link.Attrs().HardwareAddr, gatewayMAC) && !names[name] {
			if err := n.nl.LinkDel(link); err != nil {
				n.log.Warn("interface of a sandbox that is gone stays", "interface", name, "error", err)
			}
		}
	}
}

// Addresses of a sandbox, primary family first.
func (n *Network) Addresses(id string) []netip.Addr {
	list := n.ipam.of(id)
	cidrs := n.CIDRs()
	order := func(a netip.Addr) int {
		return slices.IndexFunc(cidrs, func(c netip.Prefix) bool { return c.Contains(a) })
	}
	slices.SortFunc(list, func(a, b netip.Addr) int { return order(a) - order(b) })
	return list
}

// Stats of the sandbox's interface, as the pod sees it. The node's end counts the other way round.
func (n *Network) Stats(id string) (runtime.NetworkStats, error) {
	s := runtime.NetworkStats{Interface: podLink}
	link, err := n.nl.LinkByName(LinkName(id))
	if err != nil {
		return s, fmt.Errorf("interface of sandbox %s: %w", id, err)
	}
	if st := link.Attrs().Statistics; st != nil {
		s.RxBytes, s.RxErrors = st.TxBytes, st.TxErrors
		s.TxBytes, s.TxErrors = st.RxBytes, st.RxErrors
	}
	return s, nil
}
