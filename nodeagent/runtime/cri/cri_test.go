package cri_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/runtime/cri"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest"
	"github.com/skiff-project/skiff/nodeagent/runtime/runtimetest/native"
	"github.com/skiff-project/skiff/nodeagent/sandbox/pause"
)

func TestMain(m *testing.M) { runtimetest.Isolate(m) }

// containerdConfig: cgroupfs, our own pause, a bridge of the CNI plug-ins.
const containerdConfig = `version = 2
root = "ROOT/root"
state = "ROOT/state"
[grpc]
  address = "ROOT/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "CNI"
    conf_dir = "ROOT/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`

const cniConfig = `{"cniVersion":"0.4.0","name":"test","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","dataDir":"ROOT/ipam","ranges":[[{"subnet":"10.99.0.0/24"}]]}},{"type":"portmap","capabilities":{"portMappings":true}}]}`

// containerd starts one that lives as long as the test.
func containerd(t *testing.T) (socket string) {
	t.Helper()
	if _, err := exec.LookPath("containerd"); err != nil {
		t.Fatal("containerd is not installed: this runtime cannot be tested (apt-get install containerd containernetworking-plugins)")
	}
	plugins := ""
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			plugins = dir
		}
	}
	if plugins == "" {
		t.Fatal("the CNI plug-ins are not installed: this runtime cannot be tested (apt-get install containernetworking-plugins)")
	}
	root, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	write := func(name, text string) {
		path := filepath.Join(root, name)
		data := bytes.ReplaceAll(bytes.ReplaceAll([]byte(text), []byte("ROOT"), []byte(root)), []byte("CNI"), []byte(plugins))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config.toml", containerdConfig)
	write("cni/10-test.conflist", cniConfig)
	cmd := exec.Command("containerd", "--config", filepath.Join(root, "config.toml"), "--log-level", "error")
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(root, "c.sock")
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("containerd said:\n%s", text)
		}
	})
	return socket
}

func load(t *testing.T, socket string, archive []byte) {
	t.Helper()
	cmd := exec.Command("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "-")
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("import: %v: %s", err, out)
	}
}

func pauseArchive(t *testing.T) []byte {
	t.Helper()
	program, err := pause.Program(goruntime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := runtimetest.Layer(runtimetest.File{Name: "pause", Body: string(program), Mode: 0o755, Type: tar.TypeReg})
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err == nil {
		image, err = runtimetest.WithConfig(image, v1.Config{Entrypoint: []string{"/pause"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	tag, err := name.NewTag("localhost/pause:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.Write(tag, image, &archive); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func TestContract(t *testing.T) {
	socket := containerd(t)
	group := "/skifftest-" + filepath.Base(filepath.Dir(socket))
	groups, err := cgroups.New(group, nil)
	if err != nil {
		t.Fatal(err)
	}
	machine, err := cgroups.New("/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.Remove(context.Background(), group); err != nil {
			t.Error(err)
		}
	})
	open := func() (*cri.Runtime, *cri.Images) {
		r, images, err := cri.New(cri.Config{Endpoint: "unix://" + socket, Cgroups: groups})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r, images
	}
	r, images := open()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for r.Ready(ctx) != nil {
		if ctx.Err() != nil {
			t.Fatal("containerd is not ready: ", r.Ready(context.Background()))
		}
		time.Sleep(20 * time.Millisecond)
	}
	load(t, socket, pauseArchive(t))
	load(t, socket, native.Archive(t, "docker.io/library/busybox:1", v1.Config{Cmd: []string{"sh"}}))
	image, err := images.Status(ctx, "busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	if v, err := r.Version(ctx); err != nil || v.Name != "containerd" {
		t.Errorf("version = %v, %v", v, err)
	}
	if u, err := images.Usage(ctx); err != nil || u.CapacityBytes == 0 {
		t.Errorf("usage = %+v, %v", u, err)
	}
	runtimetest.Run(t, runtimetest.Env{
		Runtime: r, Image: image.ID, Logs: filepath.Join(filepath.Dir(socket), "logs"),
		Restart: func(t *testing.T) runtime.Runtime { again, _ := open(); return again },
		Old:     old(t), MakesHostPaths: true,
	})
	if pods, err := groups.Groups("/kubepods/burstable"); err != nil || len(pods) > 0 {
		t.Errorf("control groups left behind: %v, %v", pods, err)
	}
}

// old says that containerd is older than version 2.
func old(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("containerd", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(out), " 1.") || strings.Contains(string(out), " v1.")
}
