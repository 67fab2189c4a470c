package machine

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// subnet is the cluster's: 172.30.N.0/24. The bridge is .1, the machines are .10 and up.
func subnet(number int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, byte(number), 0}), 24)
}

func hostAddr(p netip.Prefix, n int) netip.Addr {
	a := p.Addr().As4()
	a[3] = byte(n)
	return netip.AddrFrom4(a)
}

const (
	bridgeHost   = 1
	firstMachine = 10
	maxMachines  = 200
	bridgeName   = "lan0"
)

// newLAN makes the network namespace that joins a cluster's machines: a bridge with an address, which is the machines'
// gateway. What they send elsewhere is answered with "unreachable" there, unless egress adds a way out.
func newLAN(p netip.Prefix) (*os.File, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	if err := setUpLAN(ns, p); err != nil {
		ns.Close()
		return nil, fmt.Errorf("cluster network: %w", err)
	}
	return ns, nil
}

func setUpLAN(ns *os.File, p netip.Prefix) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := up(h, "lo"); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := h.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if err := h.AddrAdd(bridge, address(hostAddr(p, bridgeHost), p.Bits())); err != nil {
		return err
	}
	if err := h.LinkSetUp(bridge); err != nil {
		return err
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	if err := h.RouteAdd(&netlink.Route{Dst: all, Type: unix.RTN_UNREACHABLE, Priority: 1000}); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	return inNamespace(ns, func() error {
		// Forwarding, so that what has no way out is told so at once instead of waiting for a time-out.
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
}

func address(a netip.Addr, bits int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}
}

func up(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return h.LinkSetUp(link)
}

// attach gives the machine's namespace an eth0 with the address, plugged into the LAN's bridge as port.
func attach(lan, machine *os.File, port string, addr netip.Addr, p netip.Prefix) error {
	outside, err := netlink.NewHandleAt(netns.NsHandle(lan.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer outside.Close()
	inside, err := netlink.NewHandleAt(netns.NsHandle(machine.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer inside.Close()
	bridge, err := outside.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = port, bridge.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(machine.Fd())}
	if err := outside.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s: %w", port, err)
	}
	if err := up(outside, port); err != nil {
		return err
	}
	if err := up(inside, "lo"); err != nil {
		return err
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("eth0: %w", err)
	}
	if err := inside.AddrAdd(eth0, address(addr, p.Bits())); err != nil {
		return err
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return err
	}
	if err := inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: hostAddr(p, bridgeHost).AsSlice()}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}
