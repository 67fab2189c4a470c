package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/e2e/framework"
)

// get asks once and returns the body.
func get(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// answer is what the tool says about a request.
type answer struct{ Host, Client string }

func ask(t *testing.T, client *http.Client, url string) answer {
	t.Helper()
	var a answer
	framework.Eventually(t, 20*time.Second, func() (bool, string) {
		body, err := get(client, url)
		if err != nil {
			return false, err.Error()
		}
		return json.Unmarshal([]byte(body), &a) == nil, body
	})
	return a
}

const webDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
      - name: web
        image: ` + tool + `
        args: [serve]
        env: [{name: VERSION, value: "1"}]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {exec: {command: [sleep, "3"]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

func TestServiceSpreadsAndFollowsRollouts(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Skiff().In(ns)
	cli.RunWith(t, webDeployment, "apply", "-f", "-")
	cli.Run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	svc, err := c.Client.CoreV1().Services(ns).Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	url := "http://" + svc.Spec.ClusterIP + "/"

	for _, machine := range []string{"node-1", "node-2"} {
		client := c.HTTP(t, machine)
		hosts := map[string]bool{}
		framework.Eventually(t, 30*time.Second, func() (bool, string) {
			hosts[ask(t, client, url).Host] = true
			return len(hosts) == 3, fmt.Sprint(hosts)
		})
	}
	t.Run("node port", func(t *testing.T) {
		for _, machine := range []string{"node-1", "node-2"} {
			address := c.Machine(t, machine).Address()
			ask(t, c.HTTP(t, "node-2"), fmt.Sprintf("http://%s:%d/", address, svc.Spec.Ports[0].NodePort))
		}
	})
	t.Run("session affinity", func(t *testing.T) {
		cli.Run(t, "patch", "service", "web", "-p", `{"spec":{"sessionAffinity":"ClientIP"}}`)
		client := c.HTTP(t, "node-1")
		framework.Eventually(t, 30*time.Second, func() (bool, string) {
			hosts := map[string]bool{}
			for range 12 {
				hosts[ask(t, client, url).Host] = true
			}
			return len(hosts) == 1, fmt.Sprint(hosts)
		})
		cli.Run(t, "patch", "service", "web", "-p", `{"spec":{"sessionAffinity":"None"}}`)
	})
	t.Run("no request fails during a roll-out", func(t *testing.T) {
		client := c.HTTP(t, "node-1")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		sent, failures := 0, []string(nil)
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					_, err := get(client, url)
					mu.Lock()
					sent++
					if err != nil {
						failures = append(failures, err.Error())
					}
					mu.Unlock()
				}
			})
		}
		cli.Run(t, "set", "env", "deployment/web", "VERSION=2")
		cli.Run(t, "rollout", "status", "deployment/web", "--timeout=120s")
		close(stop)
		wg.Wait()
		require.Empty(t, failures, "of %d requests", sent)
		require.Greater(t, sent, 100)
	})
	t.Run("without endpoints it refuses at once", func(t *testing.T) {
		cli.Run(t, "scale", "deployment/web", "--replicas=0")
		framework.Eventually(t, 60*time.Second, func() (bool, string) {
			_, err := get(c.HTTP(t, "node-2"), url)
			return errors.Is(err, syscall.ECONNREFUSED), fmt.Sprint(err)
		})
	})
	t.Run("an address of nobody never leaves the node", func(t *testing.T) {
		begin := time.Now()
		_, err := get(c.HTTP(t, "node-1"), "http://10.96.255.254/")
		require.Error(t, err)
		require.Less(t, time.Since(begin), 3*time.Second)
	})
}

func TestNamesAndPodsAcrossNodes(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Kubectl().In(ns)
	for _, node := range []string{"node-1", "node-2"} {
		cli.RunWith(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, labels: {app: pair}}
spec:
  nodeName: %[1]s
  hostname: host-%[1]s
  subdomain: direct
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "%[2]s", args: [serve, "--udp=:9000"]}]
`, node, tool), "create", "-f", "-")
	}
	cli.RunWith(t, `
apiVersion: v1
kind: Service
metadata: {name: pair}
spec: {selector: {app: pair}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: direct}
spec: {clusterIP: None, selector: {app: pair}, ports: [{name: http, port: 8080}]}
`, "create", "-f", "-")
	one, two := c.Ready(t, ns, "node-1"), c.Ready(t, ns, "node-2")
	svc, err := c.Client.CoreV1().Services(ns).Get(t.Context(), "pair", metav1.GetOptions{})
	require.NoError(t, err)
	in := func(t *testing.T, pod string, command ...string) string {
		return cli.Run(t, append([]string{"exec", pod, "--"}, command...)...)
	}
	t.Run("pod to pod keeps the sender's address", func(t *testing.T) {
		var a answer
		require.NoError(t, json.Unmarshal([]byte(in(t, "node-1", "timeout", "5", "wget", "-qO-", "http://"+two.Status.PodIP+":8080/")), &a))
		require.Equal(t, answer{Host: "host-node-2", Client: one.Status.PodIP}, a)
	})
	t.Run("service from both nodes", func(t *testing.T) {
		for _, pod := range []string{"node-1", "node-2"} {
			hosts := map[string]bool{}
			framework.Eventually(t, 30*time.Second, func() (bool, string) {
				out, ok := cli.Try(t, "exec", pod, "--", "timeout", "2", "wget", "-qO-", "http://pair/")
				var a answer
				if ok && json.Unmarshal([]byte(out), &a) == nil {
					hosts[a.Host] = true
				}
				return len(hosts) == 2, fmt.Sprint(hosts, out)
			})
		}
	})
	for _, pod := range []string{"node-1", "node-2"} {
		t.Run("names in "+pod, func(t *testing.T) {
			for name, want := range map[string]string{
				"pair":                svc.Spec.ClusterIP,
				"pair." + ns:          svc.Spec.ClusterIP,
				"pair." + ns + ".svc": svc.Spec.ClusterIP,
				"kubernetes.default":  "10.96.0.1",
				"host-node-2.direct":  two.Status.PodIP,
				strings.ReplaceAll(one.Status.PodIP, ".", "-") + "." + ns + ".pod": one.Status.PodIP,
			} {
				framework.Eventually(t, 30*time.Second, func() (bool, string) {
					out, _ := cli.Try(t, "exec", pod, "--", "/tool", "lookup", name)
					return out == name+" "+want+"\n", name + ": " + out
				})
			}
			require.Contains(t, in(t, pod, "/tool", "lookup", "--srv", "_http._tcp.pair."+ns+".svc.cluster.local"), "pair."+ns+".svc.cluster.local.:80")
			out, ok := cli.Try(t, "exec", pod, "--", "/tool", "lookup", "nobody."+ns)
			require.False(t, ok)
			require.Contains(t, out, "no such host")
		})
	}
	t.Run("headless names list all pods", func(t *testing.T) {
		framework.Eventually(t, 20*time.Second, func() (bool, string) {
			out := in(t, "node-1", "/tool", "lookup", "direct")
			return strings.Contains(out, one.Status.PodIP) && strings.Contains(out, two.Status.PodIP), out
		})
	})
}
