package framework

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Patience multiplies all deadlines: an emulated machine is slower than what they are made for (SKIFF_E2E_PATIENCE).
func Patience(d time.Duration) time.Duration {
	if n, err := strconv.Atoi(os.Getenv("SKIFF_E2E_PATIENCE")); err == nil && n > 1 {
		return time.Duration(n) * d
	}
	return d
}

// Eventually waits for a condition, and fails with the last reason why it was not so.
func Eventually(t testing.TB, within time.Duration, ok func() (bool, string)) {
	t.Helper()
	within = Patience(within)
	deadline := time.Now().Add(within)
	for {
		done, why := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			require.FailNow(t, fmt.Sprintf("not so within %s", within), why)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Namespace makes a namespace for the test, whose default service account is there.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ns, err := c.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "all,endpointslices", "-o", "wide"}, {"describe", "pods"}, {"get", "events"}} {
				out, _ := c.Kubectl().In(ns.Name).Try(t, args...)
				t.Logf("kubectl %s in %s:\n%s", strings.Join(args, " "), ns.Name, out)
			}
		}
		c.Kubectl().Run(t, "delete", "namespace", ns.Name, "--wait=false")
	})
	Eventually(t, 30*time.Second, func() (bool, string) {
		_, err := c.Client.CoreV1().ServiceAccounts(ns.Name).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	return ns.Name
}

// Pod reads a pod.
func (c *Cluster) Pod(t testing.TB, namespace, name string) *corev1.Pod {
	t.Helper()
	pod, err := c.Client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

// Ready waits until a pod is Ready and returns it.
func (c *Cluster) Ready(t testing.TB, namespace, name string) *corev1.Pod {
	t.Helper()
	return c.AwaitPod(t, namespace, name, func(p *corev1.Pod) bool { return IsReady(p) })
}

// IsReady says whether the pod's Ready condition is true.
func IsReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// AwaitPod waits until a pod is as wanted and returns it.
func (c *Cluster) AwaitPod(t testing.TB, namespace, name string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	Eventually(t, 90*time.Second, func() (bool, string) {
		var err error
		pod, err = c.Client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return ok(pod), fmt.Sprintf("pod %s: %s %+v", name, pod.Status.Phase, pod.Status.ContainerStatuses)
	})
	return pod
}

// HTTP is a client that connects from within a machine, a new connection for each request.
func (c *Cluster) HTTP(t testing.TB, machine string) *http.Client {
	t.Helper()
	m := c.Machine(t, machine)
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DialContext: m.DialContext, DisableKeepAlives: true},
	}
}

// Write puts text into a file of the test and returns its path.
func Write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o755))
	return file
}

// FreePort is a port of the host's loopback that nobody uses.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
