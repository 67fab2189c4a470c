package oci_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/network"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/oci"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
)

// node is what a runtime stands on.
type node struct {
	root    string
	group   string
	images  *images.Store
	network *network.Network
	cgroups *cgroups.Manager
}

func newNode(t testing.TB) *node {
	t.Helper()
	// Not t.TempDir: its name would be too long for sockets, as a real root folder is not.
	root, err := os.MkdirTemp("", "oci")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	n := &node{root: root, group: fmt.Sprintf("/skifftest-%s", filepath.Base(root))}
	host, err := cgroups.New("/", slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Remove(context.Background(), n.group); err != nil {
			t.Error(err)
		}
	})
	if err := n.open(); err != nil {
		t.Fatal(err)
	}
	return n
}

// open opens the stores below root, as an agent does at its start.
func (n *node) open() (err error) {
	if n.cgroups, err = cgroups.New(n.group, slog.Default()); err != nil {
		return err
	}
	if n.network, err = network.New(network.Config{Dir: filepath.Join(n.root, "network"), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}); err != nil {
		return err
	}
	n.images, err = images.New(images.Config{Root: filepath.Join(n.root, "images")})
	return err
}

func (n *node) newRuntime(log *slog.Logger) (*oci.Runtime, error) {
	r, err := oci.New(oci.Config{Root: n.root, Images: n.images, Network: n.network, Cgroups: n.cgroups, Log: log})
	if err != nil {
		return nil, err
	}
	return r, r.SetPodCIDRs(context.Background(), []string{"10.244.7.0/24"})
}

func (n *node) runtime(t testing.TB) *oci.Runtime {
	t.Helper()
	r, err := n.newRuntime(slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (n *node) load(t testing.TB, ref string, config v1.Config) string {
	t.Helper()
	image, err := runtimetest.Busybox(config)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, image, &archive); err != nil {
		t.Fatal(err)
	}
	list, err := n.images.Import(context.Background(), &archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	return list[0].ID
}

func TestContract(t *testing.T) {
	n := newNode(t)
	image := n.load(t, "busybox:1", v1.Config{Cmd: []string{"sh"}})
	before := leftovers(t, n)
	r := n.runtime(t)
	runtimetest.Run(t, runtimetest.Env{
		Runtime: r, Image: image, Logs: filepath.Join(n.root, "logs"),
		Restart: func(t *testing.T) runtime.Runtime { return n.runtime(t) },
	})
	if after := leftovers(t, n); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// leftovers lists what a pod could leave on a node.
func leftovers(t *testing.T, n *node) string {
	t.Helper()
	var b strings.Builder
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.root) {
			b.WriteString(line)
		}
	}
	for _, dir := range []string{"sandboxes", "containers", "exits", "run", "network/ipam", "network/ports"} {
		entries, _ := os.ReadDir(filepath.Join(n.root, dir))
		for _, e := range entries {
			fmt.Fprintln(&b, dir, e.Name())
		}
	}
	links, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(links)) {
		if strings.Contains(line, " sk") && !strings.Contains(line, "skiff0") {
			b.WriteString(line)
		}
	}
	if pods, _ := n.cgroups.Groups("/kubepods/burstable"); len(pods) > 0 {
		fmt.Fprintln(&b, "groups", pods)
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		cmdline, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.Contains(string(cmdline), "conmon") || strings.HasPrefix(string(cmdline), "pause") {
			fmt.Fprintln(&b, "process", e.Name(), string(cmdline))
		}
	}
	return b.String()
}
