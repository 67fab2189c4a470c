package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is another node, as far as packets are concerned.
type Node struct {
	Name      string
	Addresses []netip.Addr // InternalIPs
	PodCIDRs  []netip.Prefix
}

// SetNodes routes the pod ranges of the other nodes to them, and takes back the routes of those that are gone. A node
// that is on no link of ours is named in the error; the others are routed all the same.
func (n *Network) SetNodes(nodes []Node) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	want := map[string]bool{}
	var failed []error
	for _, node := range nodes {
		for _, cidr := range masked(node.PodCIDRs) {
			if slices.Contains(n.cidrs, cidr) {
				continue // our own, told by a stale object
			}
			want[cidr.String()] = true
			if err := n.routeTo(cidr, node.Addresses); err != nil {
				failed = append(failed, fmt.Errorf("route pods %s of node %s: %w", cidr, node.Name, err))
			}
		}
	}
	n.nodes = nodes
	return errors.Join(append(failed, n.dropRoutes(want))...)
}

func (n *Network) routeTo(cidr netip.Prefix, addrs []netip.Addr) error {
	for _, addr := range addrs {
		if addr.Is4() != cidr.Addr().Is4() {
			continue
		}
		return n.nl.RouteReplace(&netlink.Route{Dst: ipNet(cidr), Gw: addr.AsSlice(), Protocol: routeProtocol})
	}
	return errors.New("it has no address of that family")
}

// dropRoutes removes our gateway routes that are not wanted any more. The marks in the kernel's table make it work for
// routes of a former life of the agent as well.
func (n *Network) dropRoutes(want map[string]bool) error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := n.nl.RouteListFiltered(family, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			if family == netlink.FAMILY_V6 && errors.Is(err, unix.EOPNOTSUPP) {
				continue
			}
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Gw == nil || r.Dst == nil || want[r.Dst.String()] {
				continue
			}
			if err := n.nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route to %s: %w", r.Dst, err)
			}
		}
	}
	return nil
}
