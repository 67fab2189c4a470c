package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// gatewayLink holds the gateway addresses. It is a bridge without ports: kernels have that where they lack a dummy.
	gatewayLink = "skiff0"
	// routeProtocol marks our routes in the kernel's tables, so that those of a former life can be told apart.
	routeProtocol = 83
	podLink       = "eth0"
)

// gatewayMAC is the node's end of every pair: pods know it without asking.
var gatewayMAC = net.HardwareAddr{0x0a, 0x58, 0xa9, 0xfe, 0x01, 0x01}

// Config of a Network.
type Config struct {
	// Dir keeps the addresses that are taken.
	Dir string
	// ClusterCIDRs are the pod ranges of the whole cluster: unreachable where no node has them, and not masqueraded.
	ClusterCIDRs []netip.Prefix
	// Masquerade lets pods reach the outside under the node's address.
	Masquerade bool
	// MTU of pods; 0 takes that of the interface with the default route, else 1500.
	MTU int
	Log *slog.Logger
}

// Network connects pods. It acts on the network namespace that it was made in.
type Network struct {
	config Config
	log    *slog.Logger
	nl     *netlink.Handle
	ipam   *ipam
	ports  ports

	mu    sync.Mutex // guards what follows
	cidrs []netip.Prefix
	nodes []Node
	mtu   int
}

// New opens the network of this node. Nothing in the kernel changes before SetPodCIDRs.
func New(config Config) (*Network, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	addresses, err := openIPAM(filepath.Join(config.Dir, "ipam"))
	if err != nil {
		return nil, fmt.Errorf("addresses of pods: %w", err)
	}
	n := &Network{config: config, log: config.Log, nl: nl, ipam: addresses}
	n.ports.init(filepath.Join(config.Dir, "ports"), config.Log)
	return n, nil
}

// Close ends the use of netlink; the kernel's state stays.
func (n *Network) Close() { n.nl.Close() }

// SetPodCIDRs sets the ranges of this node and makes the kernel ready for them. Calling it again with the same is cheap.
func (n *Network) SetPodCIDRs(ctx context.Context, cidrs []netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	cidrs = masked(cidrs)
	if slices.Equal(n.cidrs, cidrs) {
		return nil
	}
	for _, c := range cidrs {
		if c.Addr().Is4() && c.Bits() > 30 || c.Addr().Is6() && c.Bits() > 126 {
			return fmt.Errorf("pod range %s is too small", c)
		}
	}
	if err := n.enableForwarding(cidrs); err != nil {
		return err
	}
	if err := n.ensureGateway(cidrs); err != nil {
		return fmt.Errorf("gateway of pod range: %w", err)
	}
	if err := n.ensureUnreachable(cidrs); err != nil {
		return fmt.Errorf("pod range: %w", err)
	}
	if err := n.ensureRules(ctx, cidrs); err != nil {
		// Without iptables pods still reach each other; what needs it says so by itself.
		n.log.Warn("rules for pods could not be set", "error", err)
	}
	n.mtu = n.findMTU()
	n.cidrs = cidrs
	n.ipam.setRanges(cidrs)
	n.log.Info("pod network is ready", "ranges", cidrs, "mtu", n.mtu)
	return nil
}

func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = p.Masked()
	}
	return out
}

// CIDRs of this node.
func (n *Network) CIDRs() []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.cidrs)
}

func (n *Network) enableForwarding(cidrs []netip.Prefix) error {
	for _, c := range cidrs {
		key := "net/ipv4/ip_forward"
		if c.Addr().Is6() {
			key = "net/ipv6/conf/all/forwarding"
		}
		if err := setSysctl(key, "1"); err != nil {
			return fmt.Errorf("enable forwarding: %w", err)
		}
	}
	return nil
}

// setSysctl writes only what differs: /proc/sys may be read-only and already right.
func setSysctl(key, value string) error {
	path := filepath.Join("/proc/sys", key)
	old, err := os.ReadFile(path)
	if err == nil && string(old) == value+"\n" {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0)
}

func (n *Network) ensureGateway(cidrs []netip.Prefix) error {
	link, err := n.nl.LinkByName(gatewayLink)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		err = n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: gatewayLink}})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		link, err = n.nl.LinkByName(gatewayLink)
	}
	if err != nil {
		return err
	}
	want := map[netip.Addr]bool{}
	for _, c := range cidrs {
		want[gateway(c)] = true
		if err := n.nl.AddrReplace(link, &netlink.Addr{IPNet: host(gateway(c)), Flags: noDAD(gateway(c))}); err != nil {
			return err
		}
	}
	old, err := n.nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, a := range old {
		if addr, ok := netip.AddrFromSlice(a.IP); ok && !want[addr.Unmap()] && !a.IP.IsLinkLocalUnicast() {
			if err := n.nl.AddrDel(link, &a); err != nil {
				return err
			}
		}
	}
	return n.nl.LinkSetUp(link)
}

func noDAD(addr netip.Addr) int {
	if addr.Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

// ensureUnreachable routes the ranges to nowhere; pods and other nodes have narrower routes.
func (n *Network) ensureUnreachable(cidrs []netip.Prefix) error {
	for _, c := range append(slices.Clone(cidrs), masked(n.config.ClusterCIDRs)...) {
		err := n.nl.RouteReplace(&netlink.Route{Dst: ipNet(c), Type: unix.RTN_UNREACHABLE, Protocol: routeProtocol, Priority: 1 << 16})
		if err != nil {
			return fmt.Errorf("unreachable route for %s: %w", c, err)
		}
	}
	return nil
}

// findMTU takes that of the uplink: a packet that fits into the pod's interface should fit on the wire.
func (n *Network) findMTU() int {
	if n.config.MTU > 0 {
		return n.config.MTU
	}
	routes, err := n.nl.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 1500
	}
	for _, r := range routes {
		if r.Dst != nil && r.Dst.IP != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if link, err := n.nl.LinkByIndex(r.LinkIndex); err == nil && link.Attrs().MTU > 0 {
			return min(link.Attrs().MTU, 9000)
		}
	}
	return 1500
}

// LinkName is the node's end of a sandbox's pair.
func LinkName(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "sk" + hex.EncodeToString(sum[:])[:12]
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func host(a netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(a, a.BitLen())) }
