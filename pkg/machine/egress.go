package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Egress joins the LAN to the host by a pair of interfaces with addresses of their own. The LAN hides the machines
// behind its end (NAT), so the host needs no route to them and gets none; the host hides that end behind its own
// addresses, as it would for any guest.

const forwardSwitch = "/proc/sys/net/ipv4/ip_forward"

func uplinkName(number int) string { return fmt.Sprintf("skiff%d", number) }

// uplink returns the host's and the LAN's address on the pair: a /31 of the link-local range for each cluster.
func uplink(number int) (host, lan netip.Addr) {
	return netip.AddrFrom4([4]byte{169, 254, 30, byte(2 * number)}), netip.AddrFrom4([4]byte{169, 254, 30, byte(2*number + 1)})
}

// hostRules are the rules that the host gets, as arguments of iptables behind -A, -I or -D.
func hostRules(cluster string, number int) [][]string {
	_, lan := uplink(number)
	name, mark := uplinkName(number), []string{"-m", "comment", "--comment", cgroupOf(cluster)}
	rule := func(table, chain string, match ...string) []string {
		return append(append([]string{table, chain}, match...), mark...)
	}
	return [][]string{
		append(rule("nat", "POSTROUTING", "-s", lan.String()+"/32", "!", "-o", name), "-j", "MASQUERADE"),
		append(rule("filter", "FORWARD", "-i", name), "-j", "ACCEPT"),
		append(rule("filter", "FORWARD", "-o", name, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"), "-j", "ACCEPT"),
	}
}

// openEgress gives the LAN a way out. The state must have been written: closeEgress undoes any part of this.
func openEgress(ctx context.Context, s *state, lan *os.File) error {
	here, there := uplink(s.Number)
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = uplinkName(s.Number)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "uplink", PeerNamespace: netlink.NsFd(lan.Fd())}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("interface %s: %w", attrs.Name, err)
	}
	link, err := h.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	if err := errors.Join(h.AddrAdd(link, address(here, 31)), h.LinkSetUp(link)); err != nil {
		return fmt.Errorf("interface %s: %w", attrs.Name, err)
	}
	in, err := netlink.NewHandleAt(netns.NsHandle(lan.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer in.Close()
	inner, err := in.LinkByName("uplink")
	if err != nil {
		return err
	}
	if err := errors.Join(in.AddrAdd(inner, address(there, 31)), in.LinkSetUp(inner)); err != nil {
		return fmt.Errorf("uplink: %w", err)
	}
	if err := in.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: here.AsSlice()}); err != nil {
		return fmt.Errorf("uplink route: %w", err)
	}
	err = inNamespace(lan, func() error {
		return iptables(ctx, "-t", "nat", "-A", "POSTROUTING", "-o", "uplink", "-j", "MASQUERADE")
	})
	if err != nil {
		return err
	}
	for _, r := range hostRules(s.Name, s.Number) {
		// In front: a host that runs Docker refuses forwarding at the end of the chain.
		if err := iptables(ctx, append([]string{"-t", r[0], "-I", r[1]}, r[2:]...)...); err != nil {
			return err
		}
	}
	return os.WriteFile(forwardSwitch, []byte("1"), 0)
}

// closeEgress takes the interface and the rules away again. keepForwarding leaves the host forwarding for another
// cluster.
func closeEgress(ctx context.Context, s *state, keepForwarding bool) error {
	var errs []error
	for _, r := range hostRules(s.Name, s.Number) {
		for iptables(ctx, append([]string{"-t", r[0], "-C", r[1]}, r[2:]...)...) == nil {
			if err := iptables(ctx, append([]string{"-t", r[0], "-D", r[1]}, r[2:]...)...); err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	if link, err := netlink.LinkByName(uplinkName(s.Number)); err == nil {
		errs = append(errs, netlink.LinkDel(link))
	}
	if s.Forwarding && !keepForwarding {
		errs = append(errs, os.WriteFile(forwardSwitch, []byte("0"), 0))
	}
	return errors.Join(errs...)
}

func hostForwards() bool {
	body, err := os.ReadFile(forwardSwitch)
	return err == nil && strings.TrimSpace(string(body)) == "1"
}

func iptables(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "iptables", append([]string{"-w", "10"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// resolvers is the content of resolv.conf for machines that reach the outside: the host's own, but not a resolver on
// the host's loopback, which they cannot reach.
func resolvers() string {
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		body, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var keep []string
		found := false
		for _, line := range strings.Split(string(body), "\n") {
			fields := strings.Fields(line)
			if len(fields) == 2 && fields[0] == "nameserver" {
				a, err := netip.ParseAddr(fields[1])
				if err != nil || a.IsLoopback() {
					continue
				}
				found = true
			}
			keep = append(keep, line)
		}
		if found {
			return strings.Join(keep, "\n")
		}
	}
	return ""
}
