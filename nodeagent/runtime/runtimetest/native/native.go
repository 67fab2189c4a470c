// Package native makes the native runtime on real stores, network and control groups, for tests inside
// runtimetest.Isolate.
package native

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/images"
	"github.com/skiff-project/skiff/nodeagent/network"
	"github.com/skiff-project/skiff/nodeagent/runtime/oci"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
)

// PodCIDR is the pod range of the node.
const PodCIDR = "10.244.7.0/24"

// Node is what a runtime stands on.
type Node struct {
	Root  string
	Group string // control group below which everything is made

	// Command is the OCI runtime; "" the default one.
	Command string

	Images  *images.Store
	Network *network.Network
	Cgroups *cgroups.Manager
}

// New makes a node in a folder and a control group of its own, which are gone after the test.
func New(t testing.TB) *Node {
	t.Helper()
	// Not t.TempDir: its name would be longer than a real root folder's, and paths go into options of bounded length.
	root, err := os.MkdirTemp("", "oci")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	n := &Node{Root: root, Group: fmt.Sprintf("/skifftest-%s", filepath.Base(root))}
	machine, err := cgroups.New("/", slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.Remove(context.Background(), n.Group); err != nil {
			t.Error(err)
		}
	})
	if err := n.Open(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Open opens the stores below Root, as an agent does at its start.
func (n *Node) Open() (err error) {
	if n.Cgroups, err = cgroups.New(n.Group, slog.Default()); err != nil {
		return err
	}
	if n.Network, err = network.New(network.Config{Dir: filepath.Join(n.Root, "network"), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}); err != nil {
		return err
	}
	n.Images, err = images.New(images.Config{Root: filepath.Join(n.Root, "images")})
	return err
}

// NewRuntime starts a runtime that goes on with what it finds.
func (n *Node) NewRuntime(log *slog.Logger) (*oci.Runtime, error) {
	r, err := oci.New(oci.Config{Root: n.Root, Command: n.Command, Images: n.Images, Network: n.Network, Cgroups: n.Cgroups, Log: log})
	if err != nil {
		return nil, err
	}
	return r, r.SetPodCIDRs(context.Background(), []string{PodCIDR})
}

// Runtime is NewRuntime in a test.
func (n *Node) Runtime(t testing.TB) *oci.Runtime {
	t.Helper()
	r, err := n.NewRuntime(slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Archive is a docker archive of runtimetest.Busybox under a name.
func Archive(t testing.TB, ref string, config v1.Config) []byte {
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
	return archive.Bytes()
}

// Load puts such an archive into the node's store and returns the image's id.
func (n *Node) Load(t testing.TB, ref string, config v1.Config) string {
	t.Helper()
	list, err := n.Images.Import(context.Background(), bytes.NewReader(Archive(t, ref, config)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return list[0].ID
}
