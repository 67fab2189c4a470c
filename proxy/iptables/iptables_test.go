package iptables

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/proxy/rules"
)

// world is a network namespace that acts as a node (10.0.0.1), joined to one that holds two pods, 10.244.1.2 and .3,
// whose servers on port 8080 answer with their own address.
type world struct{ node, pods netns.NsHandle }

func newWorld(t *testing.T) *world {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{}
	// A thread that ends in a foreign namespace takes it along: it is never unlocked if going home fails.
	t.Cleanup(func() {
		if err := netns.Set(home); err != nil {
			t.Error(err)
			return
		}
		w.node.Close()
		w.pods.Close()
		home.Close()
		runtime.UnlockOSThread()
	})
	if w.pods, err = netns.New(); err != nil {
		t.Fatalf("a network namespace needs root: %v", err)
	}
	if w.node, err = netns.New(); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "pods"}, PeerName: "node"}))
	peer, err := netlink.LinkByName("node")
	must(err)
	must(netlink.LinkSetNsFd(peer, int(w.pods)))
	up(t, "lo", "10.0.0.1/32")
	up(t, "pods", "10.244.1.1/24")
	lo, err := netlink.LinkByName("lo")
	must(err)
	_, services, _ := net.ParseCIDR("10.96.0.0/16")
	must(netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: services, Src: net.IPv4(10, 0, 0, 1), Scope: netlink.SCOPE_LINK}))
	must(exec.Command("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1").Run())
	must(netns.Set(w.pods))
	up(t, "lo")
	up(t, "node", "10.244.1.2/24", "10.244.1.3/24")
	must(netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(10, 244, 1, 1)}))
	for _, a := range []string{"10.244.1.2", "10.244.1.3"} {
		serve(t, a)
	}
	must(netns.Set(w.node))
	return w
}

func up(t *testing.T, name string, addresses ...string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
}

func serve(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address+":8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// The peer's address shows whether the source was replaced.
			fmt.Fprintf(c, "%s from %s", address, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
}

// ask connects from the current namespace; "refused" stands for a refusal.
func ask(t *testing.T, address string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		if strings.Contains(err.Error(), "refused") {
			return "refused"
		}
		return err.Error()
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// answers asks n times and returns the different answers.
func answers(t *testing.T, address string, n int) []string {
	t.Helper()
	var out []string
	for range n {
		if a := ask(t, address); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.Sort(out)
	return out
}

func testConfig() Config {
	return Config{
		Family: corev1.IPv4Protocol, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}, LocalNodePorts: true,
	}
}

var web = types.NamespacedName{Namespace: "default", Name: "web"}

func port(endpoints ...string) *rules.Port {
	p := &rules.Port{Service: web, Name: "http", Protocol: corev1.ProtocolTCP, ClusterIP: netip.MustParseAddr("10.96.0.10"), Port: 80, NodePort: 30080}
	for _, e := range endpoints {
		p.Cluster = append(p.Cluster, rules.Endpoint{Addr: netip.MustParseAddrPort(e), Local: true})
	}
	p.Local = p.Cluster
	return p
}

func apply(t *testing.T, b *Backend, ports ...*rules.Port) {
	t.Helper()
	b.Set(web, ports)
	if err := b.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func newBackend(t *testing.T) *Backend {
	t.Helper()
	b, err := New(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestConnectionsOlderThanTheRulesLiveOn(t *testing.T) {
	newWorld(t)
	l, err := net.Listen("tcp4", "10.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.DialTimeout("tcp4", "10.0.0.1:9000", 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	// The node itself is an endpoint, as that of default/kubernetes is.
	apply(t, newBackend(t), port("10.0.0.1:9000"))
	for _, way := range []struct{ from, to net.Conn }{{client, server}, {server, client}} {
		if err := way.to.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := way.from.Write([]byte("x")); err != nil {
			t.Fatalf("write: %v", err)
		}
		if _, err := io.ReadFull(way.to, make([]byte, 1)); err != nil {
			t.Fatalf("what was sent did not arrive: %v", err)
		}
	}
}

func TestServiceIsReachableAndFollowsItsEndpoints(t *testing.T) {
	w := newWorld(t)
	b := newBackend(t)
	apply(t, b)
	equal(t, "before there is a service", answers(t, "10.96.0.10:80", 1), "refused")

	apply(t, b, port("10.244.1.2:8080", "10.244.1.3:8080"))
	// 40 tries miss one of two endpoints once in 10^12 runs.
	both := []string{"10.244.1.2 from 10.244.1.1", "10.244.1.3 from 10.244.1.1"}
	equal(t, "ClusterIP", answers(t, "10.96.0.10:80", 40), both...)
	equal(t, "node port", answers(t, "10.0.0.1:30080", 40), both...)
	equal(t, "node port on the loopback address", answers(t, "127.0.0.1:30080", 40), both...)
	equal(t, "another port of the ClusterIP", answers(t, "10.96.0.10:81", 1), "refused")
	equal(t, "an address that nobody owns", answers(t, "10.96.200.200:80", 1), "refused")

	apply(t, b, port("10.244.1.3:8080"))
	equal(t, "after an endpoint went", answers(t, "10.96.0.10:80", 20), "10.244.1.3 from 10.244.1.1")

	// A pod reaches itself through the service.
	if err := netns.Set(w.pods); err != nil {
		t.Fatal(err)
	}
	equal(t, "from a pod to an address that nobody owns", answers(t, "10.96.200.200:80", 1), "refused")
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 244, 1, 3)}, Timeout: 3 * time.Second}
	c, err := from.Dial("tcp", "10.96.0.10:80")
	if err != nil {
		t.Fatalf("a pod does not reach itself through its service: %v", err)
	}
	got, err := io.ReadAll(c)
	c.Close()
	equal(t, "hairpin", []string{string(got), fmt.Sprint(err)}, "10.244.1.3 from 10.244.1.1", "<nil>")
	if err := netns.Set(w.node); err != nil {
		t.Fatal(err)
	}

	apply(t, b, port())
	equal(t, "without endpoints", answers(t, "10.96.0.10:80", 1), "refused")
	equal(t, "node port without endpoints", answers(t, "10.0.0.1:30080", 1), "refused")
	apply(t, b)
	if out := save(t); strings.Contains(out, "SKIFF-P-SVC") || strings.Contains(out, "SKIFF-P-EXT") || strings.Contains(out, "SKIFF-P-IP-") {
		t.Errorf("chains of a service that is gone are left:\n%s", out)
	}
	if err := b.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out := save(t); strings.Contains(out, "SKIFF") {
		t.Errorf("Remove left:\n%s", out)
	}
}

func TestAffinityKeepsAClientAtItsEndpoint(t *testing.T) {
	newWorld(t)
	b := newBackend(t)
	p := port("10.244.1.2:8080", "10.244.1.3:8080")
	p.AffinitySeconds = 600
	apply(t, b, p)
	if got := answers(t, "10.96.0.10:80", 30); len(got) != 1 {
		t.Errorf("one client saw %q", got)
	}
}

func TestLocalPolicyRefusesWithoutLocalEndpoints(t *testing.T) {
	newWorld(t)
	b := newBackend(t)
	p := port("10.244.1.2:8080")
	p.LocalOnlyInternal, p.Local = true, nil
	apply(t, b, p)
	equal(t, "ClusterIP with no endpoint on this node", answers(t, "10.96.0.10:80", 1), "refused")
}

func TestRestartedProxyTakesOverAndSweeps(t *testing.T) {
	newWorld(t)
	first := newBackend(t)
	apply(t, first, port("10.244.1.2:8080"))
	other := types.NamespacedName{Namespace: "default", Name: "old"}
	q := port("10.244.1.3:8080")
	q.Service, q.ClusterIP, q.NodePort = other, netip.MustParseAddr("10.96.7.7"), 0
	first.Set(other, []*rules.Port{q})
	if err := first.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
	equal(t, "second service", answers(t, "10.96.7.7:80", 1), "10.244.1.3 from 10.244.1.1")

	second := newBackend(t) // knows nothing of what the first did; the second service went meanwhile
	apply(t, second, port("10.244.1.2:8080"))
	equal(t, "service that stays", answers(t, "10.96.0.10:80", 1), "10.244.1.2 from 10.244.1.1")
	equal(t, "service that went", answers(t, "10.96.7.7:80", 1), "refused")
	if n := strings.Count(save(t), "-A OUTPUT -j "+servicesChain); n != 1 {
		t.Errorf("%d jumps into our chain, want 1", n)
	}
}

func TestCheckRepairsRemovedRules(t *testing.T) {
	newWorld(t)
	b := newBackend(t)
	apply(t, b, port("10.244.1.2:8080"))
	for _, args := range [][]string{{"-t", "nat", "-F"}, {"-F"}} {
		if out, err := exec.Command("iptables", args...).CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
	}
	b.Check(context.Background())
	if err := b.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
	equal(t, "after somebody flushed the tables", answers(t, "10.96.0.10:80", 1), "10.244.1.2 from 10.244.1.1")
}

// The kernel must hold after changes what a proxy that starts now would write.
func TestDifferencesAddUp(t *testing.T) {
	newWorld(t)
	b := newBackend(t)
	shapes := [][]string{{"10.244.1.2:8080"}, {"10.244.1.2:8080", "10.244.1.3:8080"}, {}, {"10.244.1.3:8080"}}
	for i := range 24 {
		name := types.NamespacedName{Namespace: "default", Name: fmt.Sprint("s", i%7)}
		p := port(shapes[i%len(shapes)]...)
		p.Service, p.ClusterIP, p.NodePort = name, netip.MustParseAddr(fmt.Sprintf("10.96.%d.%d", i%3, i%7+1)), uint16(30000+i%7)
		if i%4 == 1 {
			p.AffinitySeconds = 60
		}
		ports := []*rules.Port{p}
		if i%6 == 5 {
			ports = nil
		}
		b.Set(name, ports)
		if err := b.Apply(context.Background()); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	incremental := save(t)
	b.full = true
	if err := b.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
	if whole := save(t); whole != incremental {
		t.Errorf("after changes one by one:\n%s\nas a whole:\n%s", incremental, whole)
	}
}

// save is the rules in the kernel, sorted by chain and without counters.
func save(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	byChain := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, ":") || strings.HasPrefix(line, "-A") {
			name := strings.Fields(strings.TrimPrefix(strings.TrimPrefix(line, ":"), "-A "))[0]
			if strings.HasPrefix(line, ":") {
				line = name + "\n"
			}
			byChain[name] = append(byChain[name], line)
		}
	}
	var b strings.Builder
	var names []string
	for n := range byChain {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		b.WriteString(strings.Join(byChain[n], ""))
	}
	return b.String()
}
