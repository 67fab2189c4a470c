package nodeagent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/pkg/certs"
)

const nodeIP = "10.99.0.1"

// TestMain runs the tests in network and mount namespaces of their own: the agent makes links, routes and rules.
func TestMain(m *testing.M) {
	if os.Getenv("AGENT_TEST_INSIDE") == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), "AGENT_TEST_INSIDE=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func prepare() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(nodeIP + "/32")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// rig is an agent beside a real API server.
type rig struct {
	t      *testing.T
	api    *apitest.Server
	client kubernetes.Interface
	root   string
	cgroup string
	stop   func()
}

func newRig(t *testing.T) *rig {
	api := apitest.Start(t)
	// Not t.TempDir: sockets below it would have names that are too long.
	root, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, api: api, client: api.Client(), root: root, cgroup: fmt.Sprintf("/agenttest%d", os.Getpid())}
	t.Cleanup(func() {
		left, _ := mountinfo.GetMounts(mountinfo.PrefixFilter(root))
		for _, m := range left {
			t.Errorf("%s is still mounted", m.Mountpoint)
			_ = syscall.Unmount(m.Mountpoint, syscall.MNT_DETACH)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + r.cgroup)
		more, _ := filepath.Glob("/sys/fs/cgroup" + r.cgroup)
		for _, d := range append(dirs, more...) {
			removeGroups(t, d)
		}
	})
	makeImage(t, filepath.Join(root, "bundle"))
	ctx := t.Context()
	if _, err := r.client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// removeGroups removes what is left of the control groups; a group that holds a process is a leak.
func removeGroups(t *testing.T, dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			if strings.HasPrefix(e.Name(), "pod") {
				t.Errorf("control group %s is left", filepath.Join(dir, e.Name()))
			}
			removeGroups(t, filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}

// makeImage puts an archive with busybox:1.0 and :2.0 into dir.
func makeImage(t *testing.T, dir string) {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("the tests need a static busybox: %v", err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "etc", "tmp"} {
		add(tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, busybox)
	for _, applet := range []string{"sh", "cat", "sleep", "echo", "touch", "httpd", "mkdir", "env"} {
		add(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromReader(&layer)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	images := map[name.Tag]v1.Image{}
	for _, ref := range []string{"busybox:1.0", "busybox:2.0"} {
		tag, err := name.NewTag(ref)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = img
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tarball.MultiWriteToFile(filepath.Join(dir, "busybox.tar"), images); err != nil {
		t.Fatal(err)
	}
}

// start runs an agent, as its own node and with no other rights, until r.stop.
func (r *rig) start() {
	r.t.Helper()
	ca, err := certs.EnsureCluster(filepath.Join(r.api.Dir, "pki"), certs.Config{})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := ca.EnsureNodeServing("n1", "n1", nodeIP); err != nil {
		r.t.Fatal(err)
	}
	agent, err := New(Config{
		API: r.api.As("system:node:n1", "system:nodes"), NodeName: "n1", NodeIPs: []string{nodeIP}, RootDir: filepath.Join(r.root, "data"),
		LogRoot: filepath.Join(r.root, "logs"), LinkRoot: filepath.Join(r.root, "links"), PodCIDRs: []string{"10.244.9.0/24"}, CgroupRoot: r.cgroup,
		ImageBundleDir: filepath.Join(r.root, "bundle"), ManifestDir: filepath.Join(r.root, "manifests"), ClusterDNS: []string{"10.96.0.10"}, Register: true,
		Address: nodeIP, Port: 10250, ClientCAFile: ca.Path("ca.crt"), CertFile: ca.Path("node-n1.crt"), KeyFile: ca.Path("node-n1.key"), MaxRestartDelay: 2 * time.Second,
		Log: slog.New(slog.NewTextHandler(writer{r.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	r.stop = func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && ctx.Err() == nil {
				r.t.Errorf("agent: %v", err)
			}
			done <- nil
		case <-time.After(30 * time.Second):
			r.t.Error("the agent did not stop")
		}
	}
}

type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func (r *rig) create(p *corev1.Pod) *corev1.Pod {
	r.t.Helper()
	no, grace := false, int64(1)
	p.Namespace = "default"
	p.Spec.NodeName = "n1"
	if p.Spec.AutomountServiceAccountToken == nil {
		p.Spec.AutomountServiceAccountToken = &no
	}
	if p.Spec.TerminationGracePeriodSeconds == nil {
		p.Spec.TerminationGracePeriodSeconds = &grace
	}
	p, err := r.client.CoreV1().Pods("default").Create(r.t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) until(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 40*time.Second)
	defer cancel()
	var last *corev1.Pod
	for {
		p, err := r.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			if ok(nil) {
				return nil
			}
		} else if err == nil {
			last = p
			if ok(p) {
				return p
			}
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("pod %s never came to be: %s\n%+v", name, what, last)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func isReady(p *corev1.Pod) bool {
	if p == nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func gone(p *corev1.Pod) bool { return p == nil }

func (r *rig) delete(name string) {
	r.t.Helper()
	if err := r.client.CoreV1().Pods("default").Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	r.until(name, "gone", gone)
}

func podNamed(name string, apps ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: apps}}
}

func shell(name, script string) corev1.Container {
	return corev1.Container{Name: name, Image: "busybox:1.0", Command: []string{"sh", "-c", script}}
}

// forever ends at once when it is asked to.
const forever = "trap 'exit 0' TERM; while :; do sleep 0.1; done"

func (r *rig) log(p *corev1.Pod, container string) string {
	data, _ := os.ReadFile(filepath.Join(r.root, "logs", fmt.Sprintf("default_%s_%s", p.Name, p.UID), container, "0.log"))
	return string(data)
}

func TestAgent(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()

	t.Run("a pod sees its environment, and a ConfigMap follows its object", func(t *testing.T) {
		maps := r.client.CoreV1().ConfigMaps("default")
		cm, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"k": "one"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := shell("c", "echo $IP $HOST; while :; do cat /m/k; sleep 0.1; done")
		c.Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}, {Name: "HOST", Value: "$(KUBERNETES_SERVICE_HOST)"}}
		c.VolumeMounts = []corev1.VolumeMount{{Name: "m", MountPath: "/m"}}
		p := podNamed("env", c)
		p.Spec.Volumes = []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m"}}}}}
		r.create(p)
		r.until("env", "ready", isReady)
		r.until("env", "its log", func(p *corev1.Pod) bool {
			return strings.Contains(r.log(p, "c"), p.Status.PodIP+" 10.96.0.1") && strings.Contains(r.log(p, "c"), "one")
		})
		cm.Data["k"] = "two"
		if _, err := maps.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.until("env", "the new contents", func(p *corev1.Pod) bool { return strings.Contains(r.log(p, "c"), "two") })
		r.delete("env")
	})

	t.Run("a bound token is projected", func(t *testing.T) {
		yes := true
		if _, err := r.client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "ca"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		p := podNamed("token", shell("c", "cat /var/run/secrets/kubernetes.io/serviceaccount/*; echo; "+forever))
		p.Spec.AutomountServiceAccountToken = &yes
		r.create(p)
		r.until("token", "ready", isReady)
		r.until("token", "token", func(p *corev1.Pod) bool { return strings.Count(r.log(p, "c"), "eyJ") >= 2 })
		r.delete("token")
	})

	t.Run("a changed image restarts one container; a restarted agent none", func(t *testing.T) {
		r.create(podNamed("two", shell("a", forever), shell("b", forever)))
		before := r.until("two", "ready", isReady)
		fresh := before.DeepCopy()
		fresh.Spec.Containers[0].Image = "busybox:2.0"
		if _, err := r.client.CoreV1().Pods("default").Update(ctx, fresh, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		after := r.until("two", "new image", func(p *corev1.Pod) bool {
			return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1
		})
		if after.Status.ContainerStatuses[1].ContainerID != before.Status.ContainerStatuses[1].ContainerID || after.Status.PodIP != before.Status.PodIP {
			t.Errorf("more than one container changed: %+v", after.Status)
		}
		r.stop()
		r.start()
		// The agent is back when it does something new.
		r.create(podNamed("after", shell("c", forever)))
		r.until("after", "ready", isReady)
		again := r.until("two", "still ready", isReady)
		for i, c := range again.Status.ContainerStatuses {
			if c.ContainerID != after.Status.ContainerStatuses[i].ContainerID || c.RestartCount != after.Status.ContainerStatuses[i].RestartCount {
				t.Errorf("container %s was touched by the restart of the agent", c.Name)
			}
		}
		r.delete("after")
		r.delete("two")
	})

	t.Run("a pod that is deleted while the agent is away is ended", func(t *testing.T) {
		r.create(podNamed("away", shell("c", forever)))
		p := r.until("away", "ready", isReady)
		r.stop()
		if err := r.client.CoreV1().Pods("default").Delete(ctx, "away", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			t.Fatal(err)
		}
		r.start()
		deadline := time.Now().Add(30 * time.Second)
		for {
			if _, err := os.Stat(filepath.Join(r.root, "data", "pods", string(p.UID))); os.IsNotExist(err) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the pod's folder is still there")
			}
			time.Sleep(20 * time.Millisecond)
		}
	})

	t.Run("a probe's verdict, a crash loop, and the last words", func(t *testing.T) {
		c := shell("c", "mkdir /w; echo hi > /w/index.html; httpd -p 8080 -h /w; "+forever)
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intPort(8080), Path: "/index.html"}}, PeriodSeconds: 1}
		r.create(podNamed("web", c))
		r.until("web", "ready", isReady)
		r.delete("web")

		r.create(podNamed("crash", shell("c", "echo bye > /dev/termination-log; exit 3")))
		p := r.until("crash", "restarted twice", func(p *corev1.Pod) bool {
			return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount >= 2 && p.Status.ContainerStatuses[0].LastTerminationState.Terminated != nil
		})
		if end := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; end.ExitCode != 3 || end.Message != "bye\n" || end.Reason != "Error" {
			t.Errorf("last state %+v", end)
		}
		r.delete("crash")
	})

	t.Run("logs and commands through the API server", func(t *testing.T) {
		r.create(podNamed("talk", shell("c", "echo hello; "+forever)))
		r.until("talk", "ready", isReady)
		pods := r.client.CoreV1().Pods("default")
		var log []byte
		var err error
		// A pod without a probe is ready as soon as it runs, which is before it has said anything.
		for deadline := time.Now().Add(10 * time.Second); len(log) == 0 && err == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			log, err = pods.GetLogs("talk", &corev1.PodLogOptions{}).DoRaw(ctx)
		}
		if err != nil || string(log) != "hello\n" {
			t.Errorf("log %q %v", log, err)
		}
		req := r.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("talk").SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{Command: []string{"sh", "-c", "echo out; exit 3"}, Stdout: true, Stderr: true}, clientscheme.ParameterCodec)
		exec, err := remotecommand.NewWebSocketExecutor(r.api.Config, "GET", req.URL().String())
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer // one each: the client writes them at the same time
		err = exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut})
		var code utilexec.CodeExitError
		if !errors.As(err, &code) || code.Code != 3 || out.String() != "out\n" || errOut.Len() > 0 {
			t.Errorf("output %q, %q, %v", out.String(), errOut.String(), err)
		}
		r.delete("talk")
	})

	t.Run("what does not fit is refused", func(t *testing.T) {
		c := shell("c", forever)
		c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8081}}
		r.create(podNamed("port", c))
		r.until("port", "ready", isReady)
		r.create(podNamed("clash", c))
		p := r.until("clash", "failed", func(p *corev1.Pod) bool { return p != nil && p.Status.Phase == corev1.PodFailed })
		if p.Status.Reason != "NodePorts" {
			t.Errorf("reason %s", p.Status.Reason)
		}
		r.delete("clash")
		r.delete("port")
	})

	t.Run("a static pod is mirrored", func(t *testing.T) {
		dir := filepath.Join(r.root, "manifests")
		r.stop()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r.start()
		file := filepath.Join(dir, "s.yaml")
		manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: static}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: [{name: c, image: 'busybox:1.0', command: [sh, -c, \"" + forever + "\"]}]\n"
		if err := os.WriteFile(file, []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
		p := r.until("static-n1", "ready", isReady)
		if p.Annotations[corev1.MirrorPodAnnotationKey] == "" || len(p.OwnerReferences) != 1 {
			t.Errorf("mirror %+v", p.ObjectMeta)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		r.until("static-n1", "gone", gone)
	})

	t.Run("the node shows what it is", func(t *testing.T) {
		n, err := r.client.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n.Status.NodeInfo.KubeletVersion != Version || n.Status.Capacity.Cpu().IsZero() || n.Status.DaemonEndpoints.KubeletEndpoint.Port != 10250 {
			t.Errorf("status %+v", n.Status)
		}
		if _, err := r.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, "n1", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func intPort(n int) intstr.IntOrString { return intstr.FromInt32(int32(n)) }
