package proxy

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

// prepareKernel sets what the rules rely on. A container or an unprivileged host may have /proc/sys read-only; what
// matters may be set already, so that a value that cannot be written is only an error if it is wrong.
func prepareKernel() error {
	for _, s := range []struct {
		name, value string
		must        bool
	}{
		{"net/ipv4/ip_forward", "1", true},
		{"net/ipv4/conf/all/route_localnet", "1", false}, // node ports on 127.0.0.1
	} {
		path := "/proc/sys/" + s.name
		if now, err := os.ReadFile(path); err == nil && string(now) == s.value+"\n" {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0o644); err != nil {
			if s.must {
				return fmt.Errorf("the proxy needs %s=%s: %w", s.name, s.value, err)
			}
			slog.Warn("setting not changed", "setting", s.name, "error", err)
		}
	}
	return nil
}

// routeServices makes the service range local to the node. Programs of the node itself look up a route before the rules
// translate the address: without one they would be refused at once, and by the default route a packet without a rule
// would leave the machine.
func routeServices(cidrs []netip.Prefix, node *corev1.Node) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("route services: %w", err)
	}
	for _, cidr := range cidrs {
		for _, a := range internalAddresses(node) {
			if a.Is4() != cidr.Addr().Is4() {
				continue
			}
			route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: ipNet(cidr), Src: a.AsSlice(), Scope: netlink.SCOPE_LINK}
			if err := netlink.RouteReplace(route); err != nil {
				return fmt.Errorf("route %s to the node itself: %w", cidr, err)
			}
			break
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func internalAddresses(node *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range node.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, ip)
		}
	}
	return out
}
