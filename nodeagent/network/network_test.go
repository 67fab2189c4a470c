package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Isolate(m) }

var local = netip.MustParsePrefix("10.244.7.0/24")

func newNetwork(t *testing.T, dir string) *Network {
	t.Helper()
	n, err := New(Config{Dir: dir, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	if err := n.SetPodCIDRs(context.Background(), []netip.Prefix{local}); err != nil {
		t.Fatal(err)
	}
	return n
}

// space is a network namespace held by a process.
type space struct {
	t     *testing.T
	netns *os.File
}

func newSpace(t *testing.T) *space {
	t.Helper()
	cmd := exec.Command("/bin/cat")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	netns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.Close(); cmd.Process.Kill(); cmd.Wait() })
	return &space{t, netns}
}

// inside runs f in the namespace, on a thread that ends with it.
func (s *space) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		err := unix.Setns(int(s.netns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func (s *space) attach(n *Network, id string) netip.Addr {
	s.t.Helper()
	addrs, err := n.Attach(id, s.netns, s.inside)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { n.Detach(id) })
	return addrs[0]
}

// serve answers "NAME from CLIENT" on a port in the namespace.
func (s *space) serve(name string, port int) {
	s.t.Helper()
	var l net.Listener
	err := s.inside(func() (err error) { l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port)); return err })
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s from %s", name, conn.RemoteAddr().(*net.TCPAddr).IP)
			conn.Close()
		}
	}()
}

func ask(address string) (string, error) {
	conn, err := net.DialTimeout("tcp4", address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	data, err := io.ReadAll(conn)
	return string(data), err
}

func (s *space) ask(address string) (answer string, err error) {
	err = s.inside(func() (err error) { answer, err = ask(address); return err })
	return answer, err
}

func TestPodsAndNodeReachEachOther(t *testing.T) {
	n := newNetwork(t, t.TempDir())
	a, b := newSpace(t), newSpace(t)
	ipA, ipB := a.attach(n, "a"), b.attach(n, "b")
	if ipA == ipB || !local.Contains(ipA) {
		t.Fatalf("addresses %s and %s", ipA, ipB)
	}
	a.serve("A", 80)
	for who, got := range map[string]func() (string, error){
		"A from 10.244.7.1":      func() (string, error) { return ask(fmt.Sprintf("%s:80", ipA)) },
		"A from " + ipB.String(): func() (string, error) { return b.ask(fmt.Sprintf("%s:80", ipA)) },
		"A from " + ipA.String(): func() (string, error) { return a.ask(fmt.Sprintf("%s:80", ipA)) },
		"A from 127.0.0.1":       func() (string, error) { return a.ask("127.0.0.1:80") },
	} {
		if answer, err := got(); err != nil || answer != who {
			t.Errorf("answer %q, %v, want %q", answer, err, who)
		}
	}
	s, err := n.Stats("a")
	if err != nil || s.RxBytes == 0 || s.TxBytes == 0 {
		t.Errorf("stats = %+v, %v", s, err)
	}
}

func TestWhatNobodyHasIsUnreachableAtOnce(t *testing.T) {
	n := newNetwork(t, t.TempDir())
	a := newSpace(t)
	a.attach(n, "a")
	begin := time.Now()
	for _, address := range []string{"10.244.7.200:80", "10.244.99.1:80"} {
		if _, err := ask(address); !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("node to %s: %v", address, err)
		}
		if _, err := a.ask(address); !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("pod to %s: %v", address, err)
		}
	}
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %s to find out", took)
	}
}

func TestHostPorts(t *testing.T) {
	n := newNetwork(t, t.TempDir())
	ctx := context.Background()
	a, b := newSpace(t), newSpace(t)
	ipA := a.attach(n, "a")
	ipB := b.attach(n, "b")
	a.serve("A", 80)
	b.serve("B", 80)
	// The same port of two addresses of the node, as hostIP makes possible.
	if err := n.MapPorts(ctx, "a", []netip.Addr{ipA}, []runtime.PortMapping{{Protocol: runtime.TCP, HostPort: 8000, ContainerPort: 80, HostIP: "127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	if err := n.MapPorts(ctx, "b", []netip.Addr{ipB}, []runtime.PortMapping{
		{Protocol: runtime.TCP, HostPort: 8000, ContainerPort: 80}, {Protocol: runtime.UDP, HostPort: 8000, ContainerPort: 80},
	}); err != nil {
		t.Fatal(err)
	}
	check := func(what string, got func(string) (string, error), address, want string) {
		t.Helper()
		if answer, err := got(address); err != nil || !strings.HasPrefix(answer, want) {
			t.Errorf("%s: %q, %v, want %q", what, answer, err, want)
		}
	}
	check("loopback", ask, "127.0.0.1:8000", "A from ")
	check("node's address", ask, "10.244.7.1:8000", "B from ")
	check("from another pod", a.ask, "10.244.7.1:8000", "B from "+ipA.String())
	check("from the pod itself", b.ask, "10.244.7.1:8000", "B from ")
	// An agent that starts again keeps those of the pods that are still there.
	again := newNetwork(t, filepath.Dir(n.ipam.dir))
	again.Keep([]string{"b"})
	if _, err := ask("127.0.0.1:8000"); err == nil {
		check("loopback leads to whom all addresses lead", ask, "127.0.0.1:8000", "B from ")
	}
	if got := again.Addresses("a"); len(got) != 0 {
		t.Errorf("addresses of one that is gone: %v", got)
	}
	if _, err := netlink.LinkByName(LinkName("a")); err == nil {
		t.Error("the interface of one that is gone stays")
	}
	check("the other", ask, "10.244.7.1:8000", "B from ")
	if err := again.Detach("b"); err != nil {
		t.Error(err)
	}
	rules, err := exec.Command("iptables-save", "-t", "nat").Output()
	if err != nil || bytes.Contains(rules, []byte("8000")) {
		t.Errorf("rules stay: %s, %v", rules, err)
	}
}

func TestAddresses(t *testing.T) {
	dir := t.TempDir()
	p, err := openIPAM(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.take("x"); err == nil {
		t.Error("an address without a range")
	}
	p.setRanges([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/29"), netip.MustParsePrefix("fd00:1::/120")})
	var got []string
	for i := range 5 {
		addrs, err := p.take(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(addrs))
	}
	want := []string{"[10.1.0.2 fd00:1::2]", "[10.1.0.3 fd00:1::3]", "[10.1.0.4 fd00:1::4]", "[10.1.0.5 fd00:1::5]", "[10.1.0.6 fd00:1::6]"}
	if !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	if _, err := p.take("more"); !errors.Is(err, ErrExhausted) {
		t.Errorf("full range: %v", err)
	}
	if left := p.of("more"); len(left) != 0 {
		t.Errorf("a failed taking keeps %v", left)
	}
	if err := p.release("1"); err != nil {
		t.Fatal(err)
	}
	if q, err := openIPAM(dir); err != nil || len(q.owner) != 8 {
		t.Errorf("after a restart: %v, %v", q.owner, err)
	}
	if addrs, err := p.take("again"); err != nil || addrs[0].String() != "10.1.0.3" {
		t.Errorf("given back and taken: %v, %v", addrs, err)
	}
}

func TestRoutesToOtherNodes(t *testing.T) {
	n := newNetwork(t, t.TempDir())
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "uplink"}}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	defer netlink.LinkDel(link)
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("172.30.0.2/24"))}); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	node := func(name, ip, cidr string) Node {
		return Node{Name: name, Addresses: []netip.Addr{netip.MustParseAddr(ip)}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix(cidr)}}
	}
	via := func(address string) string {
		routes, err := netlink.RouteGet(net.ParseIP(address))
		if err != nil {
			return err.Error()
		}
		return routes[0].Gw.String()
	}
	if err := n.SetNodes([]Node{node("two", "172.30.0.3", "10.244.8.0/24"), node("three", "172.30.0.4", "10.244.9.0/24"), node("self", "172.30.0.2", local.String())}); err != nil {
		t.Fatal(err)
	}
	if got := via("10.244.8.5") + " " + via("10.244.9.5"); got != "172.30.0.3 172.30.0.4" {
		t.Errorf("routes %s", got)
	}
	// One moves, one goes, one cannot be reached.
	err := n.SetNodes([]Node{node("far", "192.0.2.1", "10.244.10.0/24"), node("two", "172.30.0.5", "10.244.8.0/24")})
	if err == nil || !strings.Contains(err.Error(), "far") {
		t.Errorf("a node on no link of ours: %v", err)
	}
	if got := via("10.244.8.5"); got != "172.30.0.5" {
		t.Errorf("moved node: %s", got)
	}
	if got := via("10.244.9.5"); !strings.Contains(got, "unreachable") && !strings.Contains(got, "no route") {
		t.Errorf("route to a node that is gone: %s", got)
	}
	if err := n.SetNodes(nil); err != nil {
		t.Error(err)
	}
}

func TestBaseRules(t *testing.T) {
	rules := baseRules([]netip.Prefix{local}, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, true)
	want := `*filter
:SKIFF-FORWARD - [0:0]
-A SKIFF-FORWARD -s 10.244.0.0/16 -j ACCEPT
-A SKIFF-FORWARD -d 10.244.0.0/16 -j ACCEPT
COMMIT
*nat
:SKIFF-POSTROUTING - [0:0]
-A SKIFF-POSTROUTING -d 10.244.0.0/16 -j RETURN
-A SKIFF-POSTROUTING -m addrtype --dst-type LOCAL -j RETURN
-A SKIFF-POSTROUTING -s 10.244.7.0/24 ! -d 224.0.0.0/4 -j MASQUERADE
COMMIT
`
	if rules != want {
		t.Errorf("rules:\n%s", rules)
	}
}
