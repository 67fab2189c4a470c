package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/e2e/framework"
)

func TestContainersOfAPodShare(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Skiff().In(ns)
	cli.RunWith(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: shared-data, emptyDir: {}}
  - {name: host, hostPath: {path: /var/%[1]s, type: DirectoryOrCreate}}
  initContainers:
  - name: prepare
    image: %[2]s
    command: [sh, -c, "echo prepared > /data/index.html"]
    volumeMounts: [{name: shared-data, mountPath: /data}]
  containers:
  - name: web
    image: nginx:1.9.1
    volumeMounts: [{name: shared-data, mountPath: /usr/share/nginx/html}, {name: host, mountPath: /host}]
  - name: side
    image: %[2]s
    command: [sh, -c, "echo from side > /host/side; sleep 100000"]
    volumeMounts: [{name: shared-data, mountPath: /pod-data}, {name: host, mountPath: /host}]
`, ns, busybox), "create", "-f", "-")
	c.Ready(t, ns, "shared")
	require.Equal(t, "prepared\n", cli.Run(t, "exec", "shared", "-c", "side", "--", "wget", "-qO-", "http://localhost/"),
		"localhost is shared, and the init container's file")
	cli.Run(t, "exec", "shared", "-c", "side", "--", "sh", "-c", "echo changed > /pod-data/index.html")
	require.Equal(t, "changed\n", cli.Run(t, "exec", "shared", "-c", "side", "--", "wget", "-qO-", "http://localhost/"))
	require.Equal(t, "from side\n", cli.Run(t, "exec", "shared", "-c", "web", "--", "cat", "/host/side"))
	require.Equal(t, "from side", strings.TrimSpace(c.InMachine(t, "node-1", "cat /var/"+ns+"/side")), "hostPath is the machine's folder")
	require.Equal(t, "Completed", c.Pod(t, ns, "shared").Status.InitContainerStatuses[0].State.Terminated.Reason)
}

func TestSetImageRestartsOneContainer(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Kubectl().In(ns)
	cli.RunWith(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: "nginx:1.7.9"}
  - {name: side, image: "%s", command: [sleep, "100000"]}
`, busybox), "create", "-f", "-")
	before := c.Ready(t, ns, "two")
	cli.Run(t, "set", "image", "pod/two", "web=nginx:1.9.1")
	after := c.AwaitPod(t, ns, "two", func(p *corev1.Pod) bool {
		s := status(p, "web")
		return s.RestartCount == 1 && s.Ready && strings.HasSuffix(s.Image, "nginx:1.9.1")
	})
	require.Equal(t, before.UID, after.UID)
	require.Equal(t, before.Status.PodIP, after.Status.PodIP)
	require.Equal(t, status(before, "side").ContainerID, status(after, "side").ContainerID, "the other container is left alone")
	require.Zero(t, status(after, "side").RestartCount)
	require.Contains(t, cli.Run(t, "exec", "two", "-c", "side", "--", "wget", "-qO-", "http://localhost/"), "nginx 1.9.1")
}

func status(p *corev1.Pod, container string) corev1.ContainerStatus {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == container {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

func TestKilledProcessRestartsWithBackOff(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Skiff().In(ns)
	cli.Run(t, "run", "dies", "--image="+busybox, "--command", "--", "sh", "-c", "echo started; exit 3")
	c.AwaitPod(t, ns, "dies", func(p *corev1.Pod) bool {
		s := status(p, "dies")
		return s.RestartCount >= 1 && s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" &&
			s.LastTerminationState.Terminated != nil && s.LastTerminationState.Terminated.ExitCode == 3
	})
	require.Regexp(t, `(?m)^dies +0/1 +(CrashLoopBackOff|Error) +\d+ `, cli.Run(t, "get", "pods"))
	require.Contains(t, cli.Run(t, "describe", "pod", "dies"), "Back-off restarting failed container dies in pod dies_"+ns)
	require.Equal(t, "started\n", cli.Run(t, "logs", "dies", "--previous"))

	cli.Run(t, "run", "killed", "--image="+busybox, "--command", "--", "sleep", "100000")
	before := c.Ready(t, ns, "killed")
	m := c.Machine(t, before.Spec.NodeName)
	processes, err := m.Processes()
	require.NoError(t, err)
	require.NotEmpty(t, processes)
	c.InMachine(t, before.Spec.NodeName, "pkill -9 -f '^sleep 100000$' -n || true")
	_ = m
	framework.Eventually(t, 30*time.Second, func() (bool, string) {
		p := c.Pod(t, ns, "killed")
		s := status(p, "killed")
		return s.RestartCount == 1 && s.Ready, fmt.Sprintf("%+v", s)
	})
	require.Equal(t, int32(137), status(c.Pod(t, ns, "killed"), "killed").LastTerminationState.Terminated.ExitCode)
}

func TestOutOfMemoryIsSaid(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	c.Skiff().In(ns).RunWith(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
  - {name: eat, image: "%s", args: [eat, "200"], resources: {limits: {memory: 40Mi}}}
`, tool), "create", "-f", "-")
	p := c.AwaitPod(t, ns, "hungry", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	require.Equal(t, "OOMKilled", status(p, "eat").State.Terminated.Reason)
}

func TestProbes(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Kubectl().In(ns)
	cli.RunWith(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: %s
    args: [serve, --grpc=:9000, --tcp=:9001]
    startupProbe: {tcpSocket: {port: 9001}, periodSeconds: 1}
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {grpc: {port: 9000}, periodSeconds: 1, failureThreshold: 2}
`, tool), "create", "-f", "-")
	c.Ready(t, ns, "probed")
	post := func(path string) {
		cli.Run(t, "exec", "probed", "--", "wget", "-qO-", "--post-data=", "http://localhost:8080"+path)
	}
	post("/ready?ok=false")
	c.AwaitPod(t, ns, "probed", func(p *corev1.Pod) bool { return !framework.IsReady(p) })
	post("/ready?ok=true")
	c.Ready(t, ns, "probed")
	post("/healthy?ok=false")
	c.AwaitPod(t, ns, "probed", func(p *corev1.Pod) bool { return status(p, "main").RestartCount == 1 && framework.IsReady(p) })
}

func TestMissingImage(t *testing.T) {
	t.Parallel()
	c := framework.Shared(t)
	ns := c.Namespace(t)
	cli := c.Skiff().In(ns)
	cli.Run(t, "run", "absent", "--image=registry.invalid/none:1", "--image-pull-policy=IfNotPresent")
	c.AwaitPod(t, ns, "absent", func(p *corev1.Pod) bool {
		s := status(p, "absent")
		return s.State.Waiting != nil && s.State.Waiting.Reason == "ImagePullBackOff"
	})
	cli.Run(t, "run", "never", "--image=registry.invalid/none:1", "--image-pull-policy=Never")
	c.AwaitPod(t, ns, "never", func(p *corev1.Pod) bool {
		s := status(p, "never")
		return s.State.Waiting != nil && s.State.Waiting.Reason == "ErrImageNeverPull"
	})
	cli.Run(t, "delete", "pod", "absent", "never")
}
