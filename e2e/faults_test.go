package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/e2e/framework"
	"github.com/skiff-project/skiff/pkg/machine"
	"github.com/skiff-project/skiff/pkg/machine/control"
)

func splitLines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

func component(t *testing.T, m *machine.Machine, name string) control.State {
	t.Helper()
	states, err := m.Components()
	require.NoError(t, err)
	for _, s := range states {
		if s.Name == name {
			return s
		}
	}
	require.FailNow(t, "no component "+name)
	return control.State{}
}

// kill ends a component as a crash would, and waits until init has started it again.
func kill(t *testing.T, m *machine.Machine, name string) {
	t.Helper()
	before := component(t, m, name)
	require.NoError(t, m.SignalComponent(name, unix.SIGKILL))
	framework.Eventually(t, 15*time.Second, func() (bool, string) {
		s := component(t, m, name)
		return s.PID > 0 && s.PID != before.PID, fmt.Sprintf("%+v", s)
	})
}

func TestKilledNodeAgentDisturbsNoContainer(t *testing.T) {
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Skiff().In(ns)
	for i := range 3 {
		cli.RunWith(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: steady-%d}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "%s"}, {name: side, image: "%s", command: [sleep, "31000"]}]
`, i, tool, busybox), "create", "-f", "-")
	}
	for i := range 3 {
		c.Ready(t, ns, fmt.Sprintf("steady-%d", i))
	}
	m := c.Machine(t, "node-2")
	// Host PIDs of everything that runs in pods on the node, of these names.
	running := func() map[int]string {
		all, err := m.Processes()
		require.NoError(t, err)
		found := map[int]string{}
		for _, p := range all {
			switch p.Name {
			case "tool", "sleep", "conmon", "pause":
				found[p.PID] = p.Name
			}
		}
		return found
	}
	// A container runs once runc has let go of it; on a busy machine its process is still called runc for a moment.
	var before map[int]string
	framework.Eventually(t, 10*time.Second, func() (bool, string) {
		before = running()
		return len(before) >= 15, fmt.Sprintf("3 pods of 2 containers, 2 monitors and a pause: %v", before)
	})
	for range 2 {
		kill(t, m, "nodeagent")
		framework.Eventually(t, 30*time.Second, func() (bool, string) {
			out, ok := cli.Try(t, "exec", "steady-0", "-c", "side", "--", "echo", "works")
			return ok, out
		})
	}
	after := running()
	for pid, name := range before {
		require.Equal(t, name, after[pid], "process %d lives on", pid)
	}
	for i := range 3 {
		p := c.Pod(t, ns, fmt.Sprintf("steady-%d", i))
		require.True(t, framework.IsReady(p))
		for _, s := range p.Status.ContainerStatuses {
			require.Zero(t, s.RestartCount, "%s/%s", p.Name, s.Name)
		}
	}
	t.Run("what happened while it was away is made up for", func(t *testing.T) {
		require.NoError(t, m.StopComponent("nodeagent", 5*time.Second))
		cli.Run(t, "delete", "pod", "steady-1", "--wait=false")
		cli.RunWith(t, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: late}\nspec:\n  nodeName: node-2\n  terminationGracePeriodSeconds: 1\n  containers: [{name: main, image: %q}]\n", tool), "create", "-f", "-")
		require.NoError(t, m.RestoreComponent("nodeagent"))
		c.Ready(t, ns, "late")
		framework.Eventually(t, 30*time.Second, func() (bool, string) {
			out, ok := cli.Try(t, "get", "pod", "steady-1")
			return !ok, out
		})
	})
}

// TestStandbyTakesOver runs a second controller-manager and scheduler, kills the leaders and measures how long nobody
// led.
func TestStandbyTakesOver(t *testing.T) {
	c := framework.Shared(t)
	m := c.Machine(t, "node-1")
	const leaseDuration = 15 * time.Second
	for _, tt := range []struct{ name, lease, port string }{
		{"controller-manager", "kube-controller-manager", "20257"},
		{"scheduler", "kube-scheduler", "20259"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leases := c.Client.CoordinationV1().Leases("kube-system")
			holder := func() string {
				l, err := leases.Get(t.Context(), tt.lease, metav1.GetOptions{})
				require.NoError(t, err)
				if l.Spec.HolderIdentity == nil {
					return ""
				}
				return *l.Spec.HolderIdentity
			}
			first := holder()
			require.NotEmpty(t, first)
			cmdline := strings.Split(strings.TrimRight(c.InMachine(t, "node-1", fmt.Sprintf("tr '\\0' '\\n' < /proc/%d/cmdline", component(t, m, tt.name).PID)), "\n"), "\n")
			standby := tt.name + "-standby"
			require.NoError(t, m.StartComponent(control.Component{Name: standby, Argv: append(cmdline, "--secure-port="+tt.port)}))
			t.Cleanup(func() { require.NoError(t, m.StopComponent(standby, 5*time.Second)) })
			framework.Eventually(t, 30*time.Second, func() (bool, string) {
				log, err := m.Log(standby)
				return err == nil && strings.Contains(string(log), "another process leads"), string(log)
			})
			begin := time.Now()
			kill(t, m, tt.name)
			framework.Eventually(t, leaseDuration+2*time.Second, func() (bool, string) {
				now := holder()
				return now != first && now != "", "leader is " + now
			})
			t.Logf("the other led after %s", time.Since(begin).Round(10*time.Millisecond))
			require.Positive(t, component(t, m, tt.name).Restarts, "what died is back")
		})
	}
	t.Run("and the cluster works", func(t *testing.T) {
		ns := c.Namespace(t)
		cli := c.Kubectl().In(ns)
		cli.Run(t, "create", "deployment", "after", "--image="+tool, "--replicas=2")
		cli.Run(t, "rollout", "status", "deployment/after", "--timeout=60s")
	})
}

// TestKilledAPIServerLosesNoAcknowledgedWrite writes from several clients while the API server is killed again and again.
func TestKilledAPIServerLosesNoAcknowledgedWrite(t *testing.T) {
	c := framework.Shared(t)
	ns := c.Namespace(t)
	m := c.Machine(t, "node-1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[string]string{}
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name, value := fmt.Sprintf("w%d-%d", w, i%20), fmt.Sprint(i)
				cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"i": value}}
				maps := c.Client.CoreV1().ConfigMaps(ns)
				_, err := maps.Create(ctx, cm, metav1.CreateOptions{})
				if err != nil {
					_, err = maps.Update(ctx, cm, metav1.UpdateOptions{})
				}
				mu.Lock()
				if err == nil {
					acknowledged[name] = value
				} else {
					delete(acknowledged, name) // it may have happened or not: nothing is known of it
				}
				mu.Unlock()
			}
		})
	}
	written := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	for range 3 {
		framework.Eventually(t, 30*time.Second, func() (bool, string) { return written() >= 60, fmt.Sprint(written(), " names written") })
		kill(t, m, "apiserver")
		framework.Eventually(t, 30*time.Second, func() (bool, string) {
			_, err := c.Client.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
			return err == nil, fmt.Sprint(err)
		})
	}
	cancel()
	wg.Wait()
	list, err := c.Client.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	got := map[string]string{}
	for _, cm := range list.Items {
		got[cm.Name] = cm.Data["i"]
	}
	require.Greater(t, len(acknowledged), 40)
	for name, value := range acknowledged {
		require.Equal(t, value, got[name], name)
	}
	t.Run("and everything goes on", func(t *testing.T) {
		framework.Eventually(t, 60*time.Second, func() (bool, string) {
			out := c.Skiff().Run(t, "get", "nodes", "--no-headers")
			return strings.Count(out, " Ready ") == 2, out
		})
		cli := c.Skiff().In(ns)
		cli.Run(t, "create", "deployment", "after", "--image="+tool, "--replicas=2")
		cli.Run(t, "rollout", "status", "deployment/after", "--timeout=60s")
	})
}
