package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/skiff-project/skiff/e2e/framework"
	"github.com/skiff-project/skiff/pkg/pty"
)

// TestCommandLine goes through what people do beside apply and get, with both clients.
func TestCommandLine(t *testing.T) {
	c := framework.Shared(t)
	for _, cli := range c.Clients() {
		t.Run(cli.Name, func(t *testing.T) {
			t.Parallel()
			ns := c.Namespace(t)
			cli := cli.In(ns)
			manifest := framework.Write(t, "web.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: nginx, image: "nginx:1.9.1", ports: [{containerPort: 80}]}]
`)
			require.Equal(t, "pod/web serverside-applied\n", cli.Run(t, "apply", "--server-side", "-f", manifest))
			require.Equal(t, "pod/web condition met\n", cli.Run(t, "wait", "--for=condition=Ready", "pod/web", "--timeout=60s"))

			t.Run("server-side apply", func(t *testing.T) { serverSideApply(t, cli, manifest) })
			t.Run("diff", func(t *testing.T) { diff(t, cli) })
			t.Run("explain", func(t *testing.T) {
				out := cli.Run(t, "explain", "deployment.spec")
				for _, want := range []string{"GROUP:      apps", "KIND:       Deployment", "VERSION:    v1", "FIELD: spec <DeploymentSpec>", "minReadySeconds"} {
					require.Contains(t, out, want)
				}
			})
			t.Run("logs", func(t *testing.T) { logs(t, cli) })
			t.Run("exec on a terminal", func(t *testing.T) { execTerminal(t, cli) })
			t.Run("exec", func(t *testing.T) {
				require.Equal(t, "typed", cli.RunWith(t, "typed", "exec", "-i", "web", "--", "cat"))
				errout := cli.Fail(t, "exec", "web", "--", "sh", "-c", "echo problem >&2; exit 5")
				require.Contains(t, errout, "problem")
				require.Contains(t, errout, "command terminated with exit code 5")
			})
			t.Run("cp", func(t *testing.T) {
				body := strings.Repeat("0123456789", 50000)
				from := framework.Write(t, "from", body)
				cli.Run(t, "cp", from, "web:/tmp/there")
				back := filepath.Join(t.TempDir(), "back")
				cli.Run(t, "cp", "web:/tmp/there", back)
				got, err := os.ReadFile(back)
				require.NoError(t, err)
				require.Equal(t, body, string(got))
			})
			t.Run("port-forward", func(t *testing.T) { portForward(t, cli) })
			t.Run("top is refused", func(t *testing.T) {
				require.Contains(t, cli.Fail(t, "top", "nodes"), "Metrics API not available")
				require.Contains(t, cli.Fail(t, "top", "pods"), "Metrics API not available")
			})
			t.Run("bad input", func(t *testing.T) { badInput(t, cli) })
		})
	}
}

func serverSideApply(t *testing.T, cli framework.CLI, manifest string) {
	require.Equal(t, "pod/web serverside-applied\n", cli.Run(t, "apply", "--server-side", "-f", manifest))
	cli.Run(t, "apply", "--server-side", "--field-manager=other", "-f", framework.Write(t, "label.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {team: blue}}
`))
	require.Equal(t, "blue web", cli.Run(t, "get", "pod", "web", "-o", "jsonpath={.metadata.labels.team} {.metadata.labels.app}"))
	conflict := framework.Write(t, "conflict.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: mine}}
`)
	out := cli.Fail(t, "apply", "--server-side", "--field-manager=other", "-f", conflict)
	require.Contains(t, out, `conflict with "kubectl": .metadata.labels.app`)
	require.Contains(t, cli.Run(t, "get", "pod", "web", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"), "other")
}

func diff(t *testing.T, cli framework.CLI) {
	config := func(value string) string {
		return framework.Write(t, "config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: "+value+"}\n")
	}
	cli.Run(t, "apply", "-f", config("blue"))
	require.Empty(t, cli.Run(t, "diff", "-f", config("blue")))
	out, ok := cli.Try(t, "diff", "-f", config("green"))
	require.False(t, ok, "diff exits 1 when there is one")
	require.Contains(t, out, "-  colour: blue\n+  colour: green")
	require.Equal(t, "blue", cli.Run(t, "get", "configmap", "settings", "-o", "jsonpath={.data.colour}"))
}

func logs(t *testing.T, cli framework.CLI) {
	cli.Run(t, "run", "talker", "--image="+busybox, "--restart=Never", "--command", "--",
		"sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo last")
	cli.Run(t, "wait", "--for=condition=Ready", "pod/talker", "--timeout=60s")
	follow := cli.Start(t, "logs", "-f", "talker")
	follow.Await(t, "line 5")
	require.Equal(t, "line 4\nline 5\n", cli.Run(t, "logs", "talker", "--tail=2"))
	require.Regexp(t, `^\d{4}-\d\d-\d\dT[0-9:.]+Z line 1\n`, cli.Run(t, "logs", "talker", "--timestamps"))
	require.Equal(t, "line 1", cli.Run(t, "logs", "talker", "--limit-bytes=6"))
	require.Empty(t, cli.Run(t, "logs", "talker", "--since-time=2100-01-01T00:00:00Z"))
	cli.Run(t, "exec", "talker", "--", "touch", "/tmp/go")
	require.NoError(t, follow.Wait(t), "following ends with the container")
	require.Equal(t, "line 1\nline 2\nline 3\nline 4\nline 5\nlast\n", follow.Output())
	require.Contains(t, cli.Fail(t, "logs", "talker", "-c", "nobody"), "container nobody is not valid for pod talker")
}

// execTerminal holds a conversation with a shell, as `exec -it` on a person's terminal does.
func execTerminal(t *testing.T, cli framework.CLI) {
	near, far, err := pty.Open()
	require.NoError(t, err)
	defer near.Close()
	cmd := cli.Command(t.Context(), "exec", "-it", "web", "--", "sh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	require.NoError(t, cmd.Start())
	far.Close()
	var seen strings.Builder
	read := make(chan string)
	go func() {
		defer close(read)
		b := make([]byte, 1024)
		for {
			n, err := near.Read(b)
			if err != nil {
				return // EIO: the far end is closed
			}
			read <- string(b[:n])
		}
	}()
	await := func(text string) {
		deadline := time.After(20 * time.Second)
		for !strings.Contains(seen.String(), text) {
			select {
			case s, ok := <-read:
				require.True(t, ok, "the terminal closed; seen %q", seen.String())
				seen.WriteString(s)
			case <-deadline:
				require.FailNow(t, "no "+text, "seen %q", seen.String())
			}
		}
	}
	await("# ")
	_, err = io.WriteString(near, "tty; echo sum $((40+2))\n")
	require.NoError(t, err)
	await("sum 42")
	require.Contains(t, seen.String(), "/dev/pts/")
	_, err = io.WriteString(near, "exit 0\n")
	require.NoError(t, err)
	go func() {
		for range read { // whatever it still says
		}
	}()
	require.NoError(t, cmd.Wait())
}

func portForward(t *testing.T, cli framework.CLI) {
	port := framework.FreePort(t)
	forward := cli.Start(t, "port-forward", "pod/web", fmt.Sprintf("%d:80", port))
	forward.Await(t, "Forwarding from 127.0.0.1")
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 3 {
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, "Welcome to nginx 1.9.1 on web\n", string(body))
	}
}

// badInput makes a user's mistakes.
func badInput(t *testing.T, cli framework.CLI) {
	three := framework.Write(t, "three.yaml", `
apiVersion: apps/v1
kind: Deployment
metadata: {name: Wrong_Name}
spec:
  replicas: -1
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: b}}
    spec: {containers: [{name: c, image: busybox}]}
`)
	out := cli.Fail(t, "create", "-f", three)
	require.Contains(t, out, `The Deployment "Wrong_Name" is invalid:`)
	for _, want := range []string{"* metadata.name: Invalid value: \"Wrong_Name\": a lowercase RFC 1123 subdomain", "* spec.replicas: Invalid value: -1: must be greater than or equal to 0", "* spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"} {
		require.Contains(t, out, want)
	}
	unknown := framework.Write(t, "unknown.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nnosuch: 1\n")
	require.Contains(t, cli.Fail(t, "create", "-f", unknown), `strict decoding error: unknown field "nosuch"`)
	require.Contains(t, cli.Fail(t, "get", "configmap", "nobody"), `Error from server (NotFound): configmaps "nobody" not found`)
	require.Contains(t, cli.Fail(t, "get", "nonsense"), `error: the server doesn't have a resource type "nonsense"`)
	require.Contains(t, cli.Fail(t, "create", "configmap", "x", "-n", "nowhere"), `namespaces "nowhere" not found`)
	require.Contains(t, cli.Fail(t, "get", "pods", "-l", "a=b=c"), `label selector "a=b=c", field selector "": found '=', expected: ',' or 'end of string'`)
	old := framework.Write(t, "old.yaml", "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: x}\n")
	require.Contains(t, cli.Fail(t, "create", "-f", old), `no matches for kind "Deployment" in version "extensions/v1beta1"`)
}
