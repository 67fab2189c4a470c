package framework

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skiff-project/skiff/pkg/machine"
)

// Cluster is a running cluster.
type Cluster struct {
	Name       string
	Kubeconfig string
	Client     kubernetes.Interface
	REST       *rest.Config
}

// Bin is the folder of the built programs.
func Bin() string {
	if dir := os.Getenv("SKIFF_BIN"); dir != "" {
		return dir
	}
	dir, err := os.Getwd() // of the package under test
	if err != nil {
		panic(err)
	}
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return filepath.Join(dir, "bin")
}

// Repo is a file of the repository.
func Repo(path string) string { return filepath.Join(Bin(), "..", path) }

// Prefix begins the names of all clusters of this process.
func Prefix() string { return fmt.Sprintf("e2e%d", os.Getpid()) }

var (
	shared     *Cluster
	sharedOnce sync.Once
	sharedErr  error
	scratch    string // folder of files that outlive a test
)

// Main runs the tests of a package and then ends its shared cluster. It returns the exit code.
func Main(m *testing.M) int {
	for _, program := range []string{"skiff", "kubectl"} {
		if _, err := os.Stat(filepath.Join(Bin(), program)); err != nil {
			fmt.Fprintf(os.Stderr, "%v: build first (make build images e2e-kubectl)\n", err)
			return 1
		}
	}
	var err error
	if scratch, err = os.MkdirTemp("", "skiff-e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	code := m.Run()
	if shared != nil {
		if code != 0 {
			shared.dump(os.Stdout)
		}
		if out, err := shared.down(); err != nil {
			fmt.Printf("down of the shared cluster: %v\n%s", err, out)
			code = 1
		}
	}
	return code
}

// Shared is the cluster of two nodes that tests share.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	sharedOnce.Do(func() { shared, sharedErr = up(Prefix(), scratch, "--nodes=2") })
	require.NoError(t, sharedErr, "the shared cluster")
	return shared
}

// Up starts a cluster for this test alone.
func Up(t testing.TB, suffix string, flags ...string) *Cluster {
	t.Helper()
	c, err := up(Prefix()+suffix, t.TempDir(), flags...)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			c.dump(testWriter{t})
		}
		out, err := c.down()
		require.NoError(t, err, "down: %s", out)
	})
	return c
}

func up(name, dir string, flags ...string) (*Cluster, error) {
	c := &Cluster{Name: name, Kubeconfig: filepath.Join(dir, name+".conf")}
	args := append([]string{"up", "--name", name, "--egress=false", "--kubeconfig", c.Kubeconfig, "--timeout", Patience(2 * time.Minute).String()}, flags...)
	out, err := exec.Command(filepath.Join(Bin(), "skiff"), args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("skiff %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	fmt.Printf("cluster %s:\n%s", name, out)
	if c.REST, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return nil, err
	}
	c.REST.QPS = -1
	c.Client, err = kubernetes.NewForConfig(c.REST)
	return c, err
}

func (c *Cluster) down() ([]byte, error) {
	return exec.Command(filepath.Join(Bin(), "skiff"), "down", "--name", c.Name).CombinedOutput()
}

// Machine is a machine of the cluster.
func (c *Cluster) Machine(t testing.TB, name string) *machine.Machine {
	t.Helper()
	cluster, err := machine.DefaultHost().Open(c.Name)
	require.NoError(t, err)
	m, err := cluster.Machine(name)
	require.NoError(t, err)
	return m
}

// InMachine runs a shell command in a machine and returns what it wrote.
func (c *Cluster) InMachine(t testing.TB, name, script string) string {
	t.Helper()
	return c.Skiff().Run(t, "machine", "exec", "--name", c.Name, name, "--", "sh", "-c", script)
}

// dump shows what is needed to understand a failure.
func (c *Cluster) dump(out interface{ Write([]byte) (int, error) }) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"status", "--name", c.Name},
		{"get", "nodes,pods", "-A", "-o", "wide", "--kubeconfig", c.Kubeconfig},
		{"get", "events", "-A", "--kubeconfig", c.Kubeconfig},
	} {
		body, err := exec.CommandContext(ctx, filepath.Join(Bin(), "skiff"), args...).CombinedOutput()
		lines := bytes.Split(body, []byte("\n"))
		fmt.Fprintf(out, "--- skiff %s (%v)\n%s\n", strings.Join(args, " "), err, bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
	}
	cluster, err := machine.DefaultHost().Open(c.Name)
	if err != nil {
		return
	}
	for _, m := range cluster.Machines() {
		states, err := m.Components()
		if err != nil {
			continue
		}
		for _, s := range states {
			body, err := m.Log(s.Name)
			lines := bytes.Split(body, []byte("\n"))
			fmt.Fprintf(out, "--- %s on %s (%v)\n%s\n", s.Name, m.Name(), err, bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
		}
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}
