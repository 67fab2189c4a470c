package machine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
	"github.com/skiff-project/skiff/pkg/machine/hosttest"
)

var initProgram string

func TestMain(m *testing.M) {
	switch os.Getenv("SKIFF_TEST_SERVE") {
	case "":
	case "nested":
		nested()
		return
	default:
		serve()
		return
	}
	dir, err := os.MkdirTemp("", "machine-init")
	if err != nil {
		panic(err)
	}
	initProgram = filepath.Join(dir, "machine-init")
	if out, err := exec.Command("go", "build", "-o", initProgram, "../../cmd/machine-init").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// testHost is a place for clusters of one test, which ends by checking that the host is as it was.
func testHost(t *testing.T) machine.Host {
	t.Helper()
	run, err := os.MkdirTemp("/run", "skifft")
	require.NoError(t, err)
	h := machine.Host{RunDir: filepath.Join(run, "r"), DataRoot: t.TempDir(), Init: initProgram}
	before := hosttest.Take(t, clusterName(t, ""))
	t.Cleanup(func() {
		names, err := h.Names()
		require.NoError(t, err)
		for _, n := range names {
			require.NoError(t, h.Destroy(context.Background(), n, false))
		}
		hosttest.Same(t, clusterName(t, ""), before)
		require.NoFileExists(t, h.RunDir, "the last cluster takes the run folder with it")
		require.NoError(t, os.RemoveAll(run))
	})
	return h
}

func clusterName(t *testing.T, suffix string) string {
	return fmt.Sprintf("t%d%s", os.Getpid(), suffix)
}

func newCluster(t *testing.T, h machine.Host) *machine.Cluster {
	t.Helper()
	c, err := h.Create(t.Context(), clusterName(t, "a"), false)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func add(t *testing.T, c *machine.Cluster, name string) *machine.Machine {
	t.Helper()
	m, err := c.Add(t.Context(), machine.Config{Name: name})
	require.NoError(t, err)
	return m
}

// run executes a shell command in the machine and returns what it wrote.
func run(t *testing.T, m *machine.Machine, script string) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	require.NoError(t, err)
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	code, err := m.Exec(control.Exec{Argv: []string{"sh", "-c", script}}, null, out, out)
	require.NoError(t, err)
	body, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	require.Zero(t, code, "%s: %s", script, body)
	return strings.TrimSpace(string(body))
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 15*time.Second, 10*time.Millisecond, what)
}

func state(t *testing.T, m *machine.Machine, name string) control.State {
	t.Helper()
	all, err := m.Components()
	require.NoError(t, err)
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return control.State{}
}

func TestMachineHasItsOwnView(t *testing.T) {
	h := testHost(t)
	m := add(t, newCluster(t, h), "node-1")
	for _, tt := range []struct{ name, script, want string }{
		{"host name", "hostname", "node-1"},
		{"its shell is not far from PID 1", "cat /proc/1/comm", "machine-init"},
		{"hosts file", "grep -c node-1 /etc/hosts", "1"},
		{"no resolver without egress", "cat /etc/resolv.conf", ""},
		{"address", "ip -4 -o addr show eth0 | awk '{print $4}'", m.Address().String() + "/24"},
		{"private /run", "ls /run", "lock"},
		{"private /tmp", "ls -A /tmp", ""},
		{"it sees its cgroup as the root", "cut -d: -f3 /proc/self/cgroup | sort -u | grep -v -e '^/$' -e '^/system$' | wc -l", "0"},
		{"forwarding", "cat /proc/sys/net/ipv4/ip_forward", "1"},
		{"no link but its own", "ls /sys/class/net | grep -v -e '^lo$' -e '^eth0$' | wc -l", "0"},
		{"own rules", "iptables -t nat -A POSTROUTING -j RETURN && iptables -t nat -S POSTROUTING | wc -l", "2"},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, run(t, m, tt.script)) })
	}
	t.Run("what it writes is its own", func(t *testing.T) {
		run(t, m, "echo x > /etc/skiff-test-file && mkdir -p /skiff-test-folder && echo y > /var/lib/skiff/z")
		require.NoFileExists(t, "/etc/skiff-test-file")
		require.NoDirExists(t, "/skiff-test-folder")
		require.FileExists(t, filepath.Join(m.Data(), "z"))
	})
	t.Run("overlay works below the data folder", func(t *testing.T) {
		run(t, m, "cd /var/lib/skiff && mkdir l u w m && echo lower > l/f && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m && grep lower m/f")
	})
	t.Run("a cgroup can be made and limited", func(t *testing.T) {
		run(t, m, `d=/sys/fs/cgroup/memory; [ -d $d ] || d=/sys/fs/cgroup; mkdir $d/pods && cat $d/pods/cgroup.procs`)
	})
	t.Run("the outside is unreachable at once", func(t *testing.T) {
		begin := time.Now()
		_, err := m.DialContext(t.Context(), "tcp", "192.0.2.1:80")
		require.ErrorIs(t, err, unix.EHOSTUNREACH)
		require.Less(t, time.Since(begin), 5*time.Second)
	})
}

func TestMachinesReachEachOther(t *testing.T) {
	before := hosttest.Take(t, clusterName(t, ""))
	h := testHost(t)
	c := newCluster(t, h)
	a, b := add(t, c, "node-1"), add(t, c, "node-2")
	require.NotEqual(t, a.Address(), b.Address())
	require.NoError(t, b.StartComponent(server(t, b, "port")))
	var got string
	eventually(t, "an answer from node-2", func() bool {
		conn, err := a.DialContext(t.Context(), "tcp", b.Address().String()+":7000")
		if err != nil {
			return false
		}
		defer conn.Close()
		body := make([]byte, 64)
		n, _ := conn.Read(body)
		got = strings.TrimSpace(string(body[:n]))
		return got != ""
	})
	require.Equal(t, "node-2 saw "+a.Address().String(), got)

	t.Run("the host has no way to them", func(t *testing.T) {
		now := hosttest.Take(t, clusterName(t, ""))
		require.Equal(t, before["interface"], now["interface"])
		require.Equal(t, before["route"], now["route"])
		require.Equal(t, before["rule"], now["rule"])
	})
	t.Run("the network outlives the machine that was first", func(t *testing.T) {
		require.NoError(t, a.Stop(t.Context()))
		again, err := h.Open(c.Name())
		require.NoError(t, err)
		defer again.Close()
		third, err := again.Add(t.Context(), machine.Config{Name: "node-3"})
		require.NoError(t, err)
		conn, err := third.DialContext(t.Context(), "tcp", b.Address().String()+":7000")
		require.NoError(t, err)
		conn.Close()
	})
}

func TestComponentsAreKept(t *testing.T) {
	h := testHost(t)
	m := add(t, newCluster(t, h), "node-1")
	sleeper := control.Component{Name: "sleeper", Argv: []string{"/bin/sh", "-c", "echo hello; sleep 1000 & echo child $!; exec sleep 2000"}}
	require.NoError(t, m.StartComponent(sleeper))
	eventually(t, "the component runs", func() bool { return state(t, m, "sleeper").PID > 0 })
	require.ErrorContains(t, m.StartComponent(sleeper), "runs already")

	t.Run("its output is in its log", func(t *testing.T) {
		eventually(t, "log", func() bool { return strings.Contains(run(t, m, "cat /var/log/skiff/sleeper.log"), "child") })
	})
	t.Run("killed, it comes back and its children live on", func(t *testing.T) {
		before := state(t, m, "sleeper")
		child := run(t, m, "awk '/child/{print $2}' /var/log/skiff/sleeper.log | head -n 1")
		require.NoError(t, m.SignalComponent("sleeper", unix.SIGKILL))
		eventually(t, "a new process", func() bool {
			s := state(t, m, "sleeper")
			return s.PID > 0 && s.PID != before.PID
		})
		require.Equal(t, 1, state(t, m, "sleeper").Restarts)
		require.Equal(t, "signal: killed", state(t, m, "sleeper").LastExit)
		require.Equal(t, "1", run(t, m, "awk '/PPid/{print $2}' /proc/"+child+"/status"), "the orphan is init's")
		run(t, m, "kill "+child)
		eventually(t, "the orphan is reaped", func() bool { return run(t, m, "test -d /proc/"+child+" || echo gone") == "gone" })
	})
	t.Run("stopped, it stays so until it is wanted again", func(t *testing.T) {
		require.NoError(t, m.StopComponent("sleeper", 5*time.Second))
		require.Zero(t, state(t, m, "sleeper").PID)
		require.False(t, state(t, m, "sleeper").Wanted)
		require.NoError(t, m.RestoreComponent("sleeper"))
		eventually(t, "the component runs", func() bool { return state(t, m, "sleeper").PID > 0 })
	})
	t.Run("a program that is not there is said so", func(t *testing.T) {
		err := m.StartComponent(control.Component{Name: "none", Argv: []string{"/no/such/program"}})
		require.ErrorContains(t, err, "no such file")
	})
	t.Run("the host's numbers are known", func(t *testing.T) {
		inner := map[int]machine.Process{}
		look := func() bool {
			all, err := m.Processes()
			require.NoError(t, err)
			for _, p := range all {
				inner[p.Inner] = p
			}
			return inner[state(t, m, "sleeper").PID].Name == "sleep" // what the shell becomes
		}
		require.Eventually(t, look, 10*time.Second, 10*time.Millisecond)
		require.Positive(t, inner[state(t, m, "sleeper").PID].PSS)
		require.Equal(t, "machine-init", inner[1].Name)
		require.Equal(t, m.PID(), inner[1].PID)
	})
	t.Run("its log is read from outside", func(t *testing.T) {
		body, err := m.Log("sleeper")
		require.NoError(t, err)
		require.Contains(t, string(body), "hello")
	})
}

func TestHeldListenerOutlivesItsServer(t *testing.T) {
	h := testHost(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	c := newCluster(t, h)
	m, err := c.Add(t.Context(), machine.Config{Name: "node-1", Held: map[string]*os.File{"api": f}})
	require.NoError(t, err)
	f.Close()
	l.Close()
	dial := func() string {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		body := make([]byte, 64)
		n, _ := conn.Read(body)
		return string(body[:n])
	}
	comp := server(t, m, "held")
	comp.Held = []string{"api"}
	require.NoError(t, m.StartComponent(comp))
	require.Equal(t, "node-1", dial())
	require.Equal(t, "node-1", dial(), "the next server got the same listener")
	require.Positive(t, state(t, m, "server").Restarts)
}

// serve is what this test's own program does when a test runs it in a machine: it answers with the host's name, on
// descriptor 3 once and then ends, or on a port for good.
func serve() {
	l, err := net.Listen("tcp", ":7000")
	if os.Getenv("SKIFF_TEST_SERVE") == "held" {
		l, err = net.FileListener(os.NewFile(3, "api"))
	}
	if err != nil {
		panic(err)
	}
	name, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		answer := name
		if from, ok := conn.RemoteAddr().(*net.TCPAddr); ok && os.Getenv("SKIFF_TEST_SERVE") == "port" {
			answer += " saw " + from.IP.String()
		}
		_, _ = conn.Write([]byte(answer)) // the asker tells an error
		conn.Close()
		if os.Getenv("SKIFF_TEST_SERVE") == "held" {
			return
		}
	}
}

// server is the component that serves, in m.
func server(t *testing.T, m *machine.Machine, how string) control.Component {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	body, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(m.Data(), "server"), body, 0o755))
	return control.Component{Name: "server", Argv: []string{machine.DataDir + "/server"}, Env: []string{"SKIFF_TEST_SERVE=" + how}}
}

func TestClustersSideBySide(t *testing.T) {
	h := testHost(t)
	a := newCluster(t, h)
	a.Close()
	a, err := h.Create(t.Context(), a.Name(), false)
	require.NoError(t, err, "a cluster without machines is what a killed `up` leaves: it makes way")
	defer a.Close()
	add(t, newClusterNamed(t, h, clusterName(t, "b")), "node-1")
	_, err = h.Create(t.Context(), clusterName(t, "b"), false)
	require.ErrorIs(t, err, machine.ErrExists)
	c := newClusterNamed(t, h, clusterName(t, "c"))
	b, err := h.Open(clusterName(t, "b"))
	require.NoError(t, err)
	require.False(t, b.Subnet().Overlaps(c.Subnet()))
}

func newClusterNamed(t *testing.T, h machine.Host, name string) *machine.Cluster {
	t.Helper()
	c, err := h.Create(t.Context(), name, false)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestDataFolderInUse(t *testing.T) {
	h := testHost(t)
	c := newCluster(t, h)
	add(t, c, "node-1")
	c.Close() // the lock is init's now
	other := h
	other.RunDir = h.RunDir + "2"
	_, err := other.Create(t.Context(), c.Name(), false)
	require.ErrorContains(t, err, "is in use")
	require.NoDirExists(t, other.RunDir, "nothing half started")
}

func TestDestroyEndsWhatRuns(t *testing.T) {
	h := testHost(t)
	c := newCluster(t, h)
	m := add(t, c, "node-1")
	require.NoError(t, m.StartComponent(control.Component{Name: "s", Argv: []string{"/bin/sh", "-c", "trap '' TERM; sleep 1000 & wait"}}))
	run(t, m, `d=/sys/fs/cgroup/memory; [ -d $d ] || d=/sys/fs/cgroup; mkdir -p $d/pods/a && sh -c "echo \$\$ > $d/pods/a/cgroup.procs; setsid sleep 3000 >/dev/null 2>&1 &"`)
	require.NoError(t, h.Destroy(t.Context(), c.Name(), true))
	require.DirExists(t, c.Data(), "kept")
	require.ErrorIs(t, h.Destroy(t.Context(), c.Name(), true), machine.ErrNotFound)
	require.NoError(t, h.Destroy(t.Context(), c.Name(), false), "the data goes when that is asked for")
	require.NoDirExists(t, c.Data())
}

func TestFailedAddLeavesNothing(t *testing.T) {
	h := testHost(t)
	c := newCluster(t, h)
	_, err := c.Add(t.Context(), machine.Config{Name: "node-1", Binds: []control.Bind{{Source: "/no/such", Target: "/x"}}})
	require.ErrorContains(t, err, "/no/such")
	require.Empty(t, c.Machines())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Add(ctx, machine.Config{Name: "node-1"})
	require.Error(t, err)
	require.Empty(t, c.Machines())
}

func TestExec(t *testing.T) {
	h := testHost(t)
	m := add(t, newCluster(t, h), "node-1")
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	code, err := m.Exec(control.Exec{Argv: []string{"sh", "-c", "exit 7"}}, null, null, null)
	require.NoError(t, err)
	require.Equal(t, 7, code)
	_, err = m.Exec(control.Exec{Argv: []string{"no-such-program"}}, null, null, null)
	require.ErrorContains(t, err, "not found")

	r, w, err := os.Pipe()
	require.NoError(t, err)
	code, err = m.Exec(control.Exec{Argv: []string{"env"}, Env: []string{"COLOUR=blue"}}, null, w, null)
	require.NoError(t, err)
	require.Zero(t, code)
	w.Close()
	var out bytes.Buffer
	_, err = out.ReadFrom(r)
	require.NoError(t, err)
	require.Contains(t, out.String(), "COLOUR=blue")
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"a": true, "dev-1": true, "": false, "A": false, "../x": false, "-a": false, strings.Repeat("a", 31): false} {
		require.Equal(t, ok, machine.CheckName(name) == nil, name)
	}
	_, err := (machine.Host{RunDir: t.TempDir()}).Open("nobody")
	require.True(t, errors.Is(err, machine.ErrNotFound))
}
