package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiff-project/skiff/e2e/framework"
	"github.com/skiff-project/skiff/pkg/machine/hosttest"
)

// skiff runs the command without any cluster in mind.
func skiff(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(framework.Bin(), "skiff"), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestUpAndDown brings a cluster up beside the shared one, uses it, and takes it down: nothing may be left.
func TestUpAndDown(t *testing.T) {
	framework.Shared(t)
	name := framework.Prefix() + "ud"
	home := t.TempDir()
	env := []string{"HOME=" + home, "KUBECONFIG="}
	config := filepath.Join(home, ".kube", "config")
	require.NoError(t, os.MkdirAll(filepath.Dir(config), 0o755))
	theirs := `apiVersion: v1
kind: Config
current-context: theirs
clusters: [{name: theirs, cluster: {server: "https://192.0.2.1"}}]
users: [{name: theirs, user: {token: t}}]
contexts: [{name: theirs, context: {cluster: theirs, user: theirs}}]
`
	require.NoError(t, os.WriteFile(config, []byte(theirs), 0o644))
	before := hosttest.Take(t, name)

	out, err := skiff(t, env, "up", "--name", name, "--egress=false")
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^ +\d+\.\ds  1 of 1 nodes Ready$`, out)
	t.Cleanup(func() { _, _ = skiff(t, env, "down", "--name", name) })

	t.Run("kubeconfig is merged", func(t *testing.T) {
		merged, err := clientcmd.LoadFromFile(config)
		require.NoError(t, err)
		require.Equal(t, "skiff-"+name, merged.CurrentContext)
		require.Contains(t, merged.Contexts, "theirs")
		st, err := os.Stat(config)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
		out, err := skiff(t, env, "get", "nodes", "-o", "name")
		require.NoError(t, err, out)
		require.Equal(t, "node/node-1\n", out)
	})
	t.Run("status", func(t *testing.T) {
		var status struct {
			Components []struct {
				Name, Machine, Health string
				PID                   int
				MemoryPSS             int64
			}
		}
		framework.Eventually(t, 20*time.Second, func() (bool, string) {
			out, err := skiff(t, env, "status", "--name", name, "-o", "json")
			require.NoError(t, err, out)
			require.NoError(t, json.Unmarshal([]byte(out), &status))
			for _, c := range status.Components {
				if c.Health != "ok" {
					return false, fmt.Sprintf("%+v", c)
				}
			}
			return true, ""
		})
		seen := map[string]bool{}
		for _, c := range status.Components {
			seen[c.Name] = true
			require.Equal(t, "node-1", c.Machine)
			require.Positive(t, c.PID)
		}
		for _, want := range []string{"apiserver", "controller-manager", "scheduler", "nodeagent", "proxy", "coredns"} {
			require.True(t, seen[want], want)
		}
	})
	t.Run("version says both", func(t *testing.T) {
		out, err := skiff(t, env, "version")
		require.NoError(t, err, out)
		require.Regexp(t, `(?s)^Skiff Version: \S+\nClient Version: v1\.37\.\d+\n.*Server Version: v1\.37\.`, out)
	})
	t.Run("images are loaded and listed", func(t *testing.T) {
		out, err := skiff(t, env, "image", "load", "--name", name, filepath.Join(framework.Bin(), "images", "nginx.tar"))
		require.NoError(t, err, out)
		out, err = skiff(t, env, "image", "ls", "--name", name)
		require.NoError(t, err, out)
		require.Regexp(t, `(?m)^node-1 +docker\.io/library/nginx:1\.9\.1 +[0-9a-f]{12} +\S+$`, out)
	})
	t.Run("a second one of that name is refused", func(t *testing.T) {
		out, err := skiff(t, env, "up", "--name", name)
		requireOneLine(t, out, err, "is up already")
	})

	out, err = skiff(t, env, "down", "--name", name)
	require.NoError(t, err, out)
	hosttest.Same(t, name, before)
	require.NoDirExists(t, "/var/lib/skiff/clusters/"+name)
	require.NoDirExists(t, "/run/skiff/"+name)
	after, err := clientcmd.LoadFromFile(config)
	require.NoError(t, err)
	require.Equal(t, "theirs", after.CurrentContext)
	require.Len(t, after.Contexts, 1)
	require.Len(t, after.Clusters, 1)
	out, err = skiff(t, env, "down", "--name", name)
	require.NoError(t, err, out)
	require.Contains(t, out, "no cluster")
}

func requireOneLine(t *testing.T, out string, err error, want string) {
	t.Helper()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, out)
	require.Equal(t, 1, exit.ExitCode())
	require.Contains(t, out, want)
	require.Len(t, splitLines(out), 1, out)
}

// TestUpRefusals makes the mistakes that `up` must find before it starts anything.
func TestUpRefusals(t *testing.T) {
	name := framework.Prefix() + "no"
	before := hosttest.Take(t, name)
	env := []string{"KUBECONFIG=" + filepath.Join(t.TempDir(), "config")}
	t.Run("port in use", func(t *testing.T) {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		out, err := skiff(t, env, "up", "--name", name, "--api-port", fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
		requireOneLine(t, out, err, "is in use; choose another with --api-port")
	})
	t.Run("bad name", func(t *testing.T) {
		out, err := skiff(t, env, "up", "--name", "../x")
		requireOneLine(t, out, err, "is no name for a cluster")
	})
	t.Run("missing tools", func(t *testing.T) {
		out, err := skiff(t, append(env, "PATH=/nonexistent"), "up", "--name", name)
		requireOneLine(t, out, err, "missing on this host: runc conmon iptables")
	})
	for _, tool := range []string{"conmon", "iptables", "runc"} {
		t.Run("missing "+tool, func(t *testing.T) {
			tools := t.TempDir()
			for _, there := range []string{"conmon", "iptables", "runc"} {
				if there != tool {
					require.NoError(t, os.Symlink("/bin/true", filepath.Join(tools, there)))
				}
			}
			out, err := skiff(t, append(env, "PATH="+tools), "up", "--name", name)
			requireOneLine(t, out, err, "missing on this host: "+tool+" (apt-get install "+tool+")")
		})
	}
	t.Run("data folder in use", func(t *testing.T) {
		root := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(root, name), 0o755))
		f, err := os.Open(filepath.Join(root, name))
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
		out, err := skiff(t, env, "up", "--name", name, "--data-root", root, "--egress=false")
		requireOneLine(t, out, err, "is in use by a running cluster")
	})
	t.Run("not root", func(t *testing.T) {
		copied := filepath.Join(t.TempDir(), "skiff")
		body, err := os.ReadFile(filepath.Join(framework.Bin(), "skiff"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(copied, body, 0o755))
		for dir := filepath.Dir(copied); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			require.NoError(t, os.Chmod(dir, 0o755))
		}
		cmd := exec.CommandContext(t.Context(), copied, "up", "--name", name)
		cmd.Dir, cmd.Env = "/", []string{"HOME=/nonexistent", "PATH=" + os.Getenv("PATH")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		requireOneLine(t, string(out), err, "need root")
	})
	hosttest.Same(t, name, before)
	require.NoDirExists(t, "/run/skiff/"+name)
}

// TestInterruptedUp stops `up` half-way: asked to, it takes everything down itself; killed, `down` does.
func TestInterruptedUp(t *testing.T) {
	name := framework.Prefix() + "in"
	before := hosttest.Take(t, name)
	env := []string{"KUBECONFIG=" + filepath.Join(t.TempDir(), "config")}
	start := func(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
		var out bytes.Buffer
		cmd := exec.Command(filepath.Join(framework.Bin(), "skiff"), "up", "--name", name, "--egress=false")
		cmd.Env = append(os.Environ(), env...)
		cmd.Stdout, cmd.Stderr = &out, &out
		require.NoError(t, cmd.Start())
		framework.Eventually(t, 30*time.Second, func() (bool, string) {
			_, err := os.Stat("/run/skiff/" + name + "/node-1.sock")
			return err == nil, fmt.Sprint(err)
		})
		return cmd, &out
	}
	t.Run("interrupted", func(t *testing.T) {
		cmd, out := start(t)
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.Error(t, cmd.Wait())
		hosttest.Same(t, name, before)
		require.NoDirExists(t, "/run/skiff/"+name, out.String())
		require.NoDirExists(t, "/var/lib/skiff/clusters/"+name)
	})
	t.Run("killed", func(t *testing.T) {
		cmd, _ := start(t)
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		out, err := skiff(t, env, "down", "--name", name)
		require.NoError(t, err, out)
		hosttest.Same(t, name, before)
		require.NoDirExists(t, "/run/skiff/"+name)
		require.NoDirExists(t, "/var/lib/skiff/clusters/"+name)
	})
	t.Run("a component that does not start is named", func(t *testing.T) {
		out, err := skiff(t, env, "up", "--name", name, "--egress=false", "--component-flag", "apiserver=--no-such-flag")
		require.Error(t, err)
		require.Contains(t, out, "apiserver on node-1 does not stay up")
		require.Contains(t, out, "no-such-flag")
		hosttest.Same(t, name, before)
	})
	t.Run("kept data is taken up again", func(t *testing.T) {
		up := func() {
			out, err := skiff(t, env, "up", "--name", name, "--egress=false", "--dns=false")
			require.NoError(t, err, out)
		}
		up()
		t.Cleanup(func() { _, _ = skiff(t, env, "down", "--name", name) })
		out, err := skiff(t, env, "create", "configmap", "kept", "--from-literal=a=b")
		require.NoError(t, err, out)
		out, err = skiff(t, env, "down", "--name", name, "--keep-data")
		require.NoError(t, err, out)
		up()
		out, err = skiff(t, env, "get", "configmap", "kept", "-o", "jsonpath={.data.a}")
		require.NoError(t, err, out)
		require.Equal(t, "b", strings.TrimSpace(out))
		out, err = skiff(t, env, "down", "--name", name)
		require.NoError(t, err, out)
		hosttest.Same(t, name, before)
	})
}
