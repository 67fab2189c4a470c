package framework

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CLI is a command line client with a cluster to talk to.
type CLI struct {
	Name      string
	cluster   *Cluster
	namespace string
	env       []string
}

// Skiff is our command line.
func (c *Cluster) Skiff() CLI { return CLI{Name: "skiff", cluster: c} }

// Kubectl is upstream's.
func (c *Cluster) Kubectl() CLI { return CLI{Name: "kubectl", cluster: c} }

// Clients are both.
func (c *Cluster) Clients() []CLI { return []CLI{c.Skiff(), c.Kubectl()} }

// In makes commands act on a namespace, as `config set-context --current --namespace` does.
func (c CLI) In(namespace string) CLI {
	c.namespace = namespace
	return c
}

// With sets environment variables, as NAME=value.
func (c CLI) With(env ...string) CLI {
	c.env = append(c.env, env...)
	return c
}

// Command is the command, not yet started.
func (c CLI) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(Bin(), c.Name), args...)
	file := c.cluster.Kubeconfig
	if c.namespace != "" {
		file = c.inNamespace()
	}
	// A home of its own: kubectl keeps a cache of discovery there.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+file, "HOME="+filepath.Dir(c.cluster.Kubeconfig))
	cmd.Env = append(cmd.Env, c.env...)
	return cmd
}

var kubeconfigs sync.Mutex

// inNamespace makes a kubeconfig whose context has the namespace.
func (c CLI) inNamespace() string {
	kubeconfigs.Lock()
	defer kubeconfigs.Unlock()
	file := strings.TrimSuffix(c.cluster.Kubeconfig, ".conf") + "-" + c.namespace + ".conf"
	if _, err := os.Stat(file); err == nil {
		return file
	}
	body, err := os.ReadFile(c.cluster.Kubeconfig)
	if err != nil {
		return c.cluster.Kubeconfig
	}
	user := "    user: skiff-" + c.cluster.Name + "\n"
	changed := strings.Replace(string(body), user, "    namespace: "+c.namespace+"\n"+user, 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return c.cluster.Kubeconfig
	}
	return file
}

// Timeout bounds each command: none of a test's takes that long.
const Timeout = 3 * time.Minute

// Run runs a command that has to succeed and returns what it wrote to its standard output.
func (c CLI) Run(t testing.TB, args ...string) string {
	t.Helper()
	return c.RunWith(t, "", args...)
}

// RunWith is Run with an input.
func (c CLI) RunWith(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, errout, err := c.try(t, stdin, args...)
	require.NoError(t, err, "%s %s\n%s%s", c.Name, strings.Join(args, " "), out, errout)
	return out
}

// Fail runs a command that has to fail, and returns what it wrote to its standard error.
func (c CLI) Fail(t testing.TB, args ...string) string {
	t.Helper()
	out, errout, err := c.try(t, "", args...)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s %s\n%s%s", c.Name, strings.Join(args, " "), out, errout)
	return errout
}

// Try runs a command and returns all that it wrote and whether it succeeded.
func (c CLI) Try(t testing.TB, args ...string) (string, bool) {
	t.Helper()
	out, errout, err := c.try(t, "", args...)
	return out + errout, err == nil
}

func (c CLI) try(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience(Timeout))
	defer cancel()
	var out, errout bytes.Buffer
	cmd := c.Command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errout
	cmd.WaitDelay = 5 * time.Second
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	err = cmd.Run()
	return out.String(), errout.String(), err
}

// Running is a command that goes on beside the test: a watch, a log that is followed, a forwarded port.
type Running struct {
	mu   sync.Mutex
	out  bytes.Buffer
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts a command that the test's end stops, unless it has stopped by then.
func (c CLI) Start(t testing.TB, args ...string) *Running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Running{cmd: c.Command(ctx, args...), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.WaitDelay = r, r, 5*time.Second
	require.NoError(t, r.cmd.Start())
	go func() {
		defer close(r.done)
		r.err = r.cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

func (r *Running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(b)
}

// Output is what it has written so far.
func (r *Running) Output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.String()
}

// Await waits until the output contains text.
func (r *Running) Await(t testing.TB, text string) {
	t.Helper()
	Eventually(t, time.Minute, func() (bool, string) {
		return strings.Contains(r.Output(), text), "output is: " + r.Output()
	})
}

// Wait waits for the command to end by itself and returns its error.
func (r *Running) Wait(t testing.TB) error {
	t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(Patience(time.Minute)):
		require.FailNow(t, "the command does not end", r.Output())
		return nil
	}
}

var _ io.Writer = (*Running)(nil)
