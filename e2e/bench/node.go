package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/e2e/lab"
	"github.com/skiff-project/skiff/pkg/machine"
)

// cluster is a whole cluster of one node.
type cluster struct {
	name    string
	machine *machine.Machine
	client  kubernetes.Interface
	stop    func() error
}

// node measures a whole cluster of one node with DNS: its start, what it takes while nothing happens, and how fast it
// starts pods.
func (b *bench) node(ctx context.Context) error {
	up := b.skiffUp
	if b.side == lab.Upstream {
		up = b.upstreamUp
	}
	c, err := up(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := c.stop(); err != nil {
			b.say("note: %v", err)
		}
	}()
	n := &nodeWork{bench: b, cluster: c}
	for _, work := range []func(context.Context) error{n.idle, n.alone, n.burst, n.hundred} {
		if err := work(ctx); err != nil {
			return err
		}
	}
	return nil
}

// skiffUp is `skiff up`, as users know it.
func (b *bench) skiffUp(ctx context.Context) (*cluster, error) {
	name := lab.Name("node-skiff")
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	host := lab.Host(b.skiff)
	stop := func() error {
		return errors.Join(ignoreNotFound(host.Destroy(context.Background(), name, false)), os.RemoveAll(dir))
	}
	c, err := b.skiffCluster(ctx, host, name, filepath.Join(dir, "kubeconfig"))
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	c.stop = stop
	return c, nil
}

func ignoreNotFound(err error) error {
	if errors.Is(err, machine.ErrNotFound) {
		return nil
	}
	return err
}

func (b *bench) skiffCluster(ctx context.Context, host machine.Host, name, kubeconfig string) (*cluster, error) {
	start := time.Now()
	cmd := exec.CommandContext(ctx, filepath.Join(b.skiff, "skiff"), "up", "--name", name, "--egress=false", "--kubeconfig", kubeconfig)
	// It cleans up by itself when it is interrupted.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "nodes Ready") {
			b.report("from nothing to the node being Ready", "s", less, time.Since(start).Seconds())
		}
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("skiff up: %w", err)
	}
	b.report("from nothing to DNS being ready", "s", less, time.Since(start).Seconds())
	opened, err := host.Open(name)
	if err != nil {
		return nil, err
	}
	m, err := opened.Machine(lab.Node)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	return &cluster{name: name, machine: m, client: client}, err
}

// upstreamUp starts all of upstream's programs at once and gives them the same images and the same DNS.
func (b *bench) upstreamUp(ctx context.Context) (*cluster, error) {
	start := time.Now()
	l, err := b.startLab(ctx)
	if err != nil {
		return nil, err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- l.LoadImages(ctx) }()
	err = func() error {
		if err := l.CreateDNS(ctx); err != nil {
			return err
		}
		if err := l.NodeReady(ctx); err != nil {
			return err
		}
		b.report("from nothing to the node being Ready", "s", less, time.Since(start).Seconds())
		if err := l.DNSReady(ctx); err != nil {
			return err
		}
		b.report("from nothing to DNS being ready", "s", less, time.Since(start).Seconds())
		return nil
	}()
	if err = errors.Join(err, <-loaded); err != nil {
		return nil, errors.Join(err, l.Stop())
	}
	return &cluster{name: lab.Name("node-upstream"), machine: l.Machine, client: l.Client, stop: l.Stop}, nil
}

func (b *bench) startLab(ctx context.Context) (*lab.Lab, error) {
	return b.start(ctx, lab.All(b.side))
}

type nodeWork struct {
	*bench
	*cluster
}

// cpu measures the processors' time of everything on the machine while f runs.
func (n *nodeWork) cpu(f func() error) (time.Duration, error) {
	before, err := lab.CgroupCPU(n.cluster.name, lab.Node)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := lab.CgroupCPU(n.cluster.name, lab.Node)
	return after - before, err
}

// rest measures what the cluster uses of one processor while nobody asks anything of it.
func (n *nodeWork) rest(ctx context.Context, what string) error {
	const long = 10 * time.Second
	cpu, err := n.cpu(func() error { return pause(ctx, long) })
	if err != nil {
		return err
	}
	n.report(what, "% of a processor", less, 100*cpu.Seconds()/long.Seconds())
	return nil
}

// pause lets time pass that is part of a measurement.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// parts names a cluster's programs so that both sides' stand in the same row.
var parts = []struct {
	row      string
	programs []string
}{
	{"API server and etcd", []string{"apiserver", "kube-apiserver", "etcd"}},
	{"controller manager", []string{"controller-manager", "kube-controller-manager"}},
	{"scheduler", []string{"scheduler", "kube-scheduler"}},
	{"node agent and runtime", []string{"nodeagent", "kubelet", "containerd", "containerd-shim-runc-v2", "conmon"}},
	{"proxy", []string{"proxy", "kube-proxy"}},
	{"CoreDNS", []string{"coredns"}},
}

func (n *nodeWork) idle(ctx context.Context) error {
	if err := pause(ctx, n.settle); err != nil {
		return err
	}
	u, err := lab.UsageOf(n.machine)
	if err != nil {
		return err
	}
	n.report("idle: memory (PSS) of all", "MB", less, float64(u.Total())/1e6)
	for _, p := range parts {
		var sum int64
		for _, program := range p.programs {
			sum += u.PSS[program]
		}
		n.report("idle: memory of "+p.row, "MB", less, float64(sum)/1e6)
	}
	return n.rest(ctx, "idle: processor time of all")
}

func sleeper(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "sleeper"}},
		Spec: corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To(int64(0)), Containers: []corev1.Container{{
			Name: "main", Image: "docker.io/library/busybox:1.36", Command: []string{"sleep", "86400"},
		}}},
	}
}

// run creates pods at once and returns how long it took until all were Ready.
func (n *nodeWork) run(ctx context.Context, names ...string) (time.Duration, error) {
	pods := n.client.CoreV1().Pods("default")
	list, err := pods.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, fmt.Errorf("%d pods not Ready in 3 minutes", len(names)))
	defer cancel()
	w, err := pods.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion, LabelSelector: "app=sleeper"})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	start := time.Now()
	if _, err := spread(ctx, len(names), 8, func(ctx context.Context, i int) error {
		_, err := pods.Create(ctx, sleeper(names[i]), metav1.CreateOptions{})
		return err
	}); err != nil {
		return 0, err
	}
	ready, last := map[string]bool{}, ""
	for len(ready) < len(names) {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("%w; the watch said so of %d, %s; %s", context.Cause(ctx), len(ready), last, n.looked(context.WithoutCancel(ctx)))
		case e, ok := <-w.ResultChan():
			if !ok {
				return 0, errors.New("watch of pods ended")
			}
			pod, isPod := e.Object.(*corev1.Pod)
			if !isPod {
				return 0, fmt.Errorf("watch of pods: %v", e.Object)
			}
			if isReady(pod) {
				ready[pod.Name] = true
			} else {
				last = fmt.Sprintf("%s is %s: %v", pod.Name, pod.Status.Phase, pod.Status.ContainerStatuses)
			}
		}
	}
	return time.Since(start), nil
}

// looked says what a list shows once a watch has not shown enough.
func (n *nodeWork) looked(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := n.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=sleeper"})
	if err != nil {
		return err.Error()
	}
	ready := 0
	for i := range list.Items {
		if isReady(&list.Items[i]) {
			ready++
		}
	}
	return fmt.Sprintf("a list shows %d of %d", ready, len(list.Items))
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// clear removes the pods and waits until they are gone.
func (n *nodeWork) clear(ctx context.Context) error {
	pods := n.client.CoreV1().Pods("default")
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=sleeper"}); err != nil {
		return err
	}
	for {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=sleeper"})
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %d pods are not gone", err, len(list.Items))
		}
	}
}

func (n *nodeWork) alone(ctx context.Context) error {
	var took []float64
	for i := range 10 {
		d, err := n.run(ctx, fmt.Sprintf("alone-%d", i))
		if err != nil {
			return err
		}
		took = append(took, float64(d.Microseconds())/1000)
	}
	n.report("pod created to Ready, one at a time, median of 10", "ms", less, median(took))
	return n.clear(ctx)
}

func many(prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%d", prefix, i))
	}
	return names
}

func (n *nodeWork) burst(ctx context.Context) error {
	const pods = 50
	var took time.Duration
	cpu, err := n.cpu(func() (err error) {
		took, err = n.run(ctx, many("burst", pods)...)
		return err
	})
	if err != nil {
		return err
	}
	n.report("50 pods at once on one node", "pods/s", more, pods/took.Seconds())
	n.report("50 pods at once: processor time of all", "ms a pod", less, float64(cpu.Milliseconds())/pods)
	start := time.Now()
	if err := n.clear(ctx); err != nil {
		return err
	}
	n.report("50 pods deleted at once", "pods/s", more, pods/time.Since(start).Seconds())
	return nil
}

func (n *nodeWork) hundred(ctx context.Context) error {
	const pods = 100
	before, err := lab.UsageOf(n.machine)
	if err != nil {
		return err
	}
	took, err := n.run(ctx, many("many", pods)...)
	if err != nil {
		return err
	}
	n.report("100 pods at once on one node", "pods/s", more, pods/took.Seconds())
	if err := pause(ctx, n.settle/3); err != nil {
		return err
	}
	after, err := lab.UsageOf(n.machine)
	if err != nil {
		return err
	}
	var own int64
	for _, program := range []string{"containerd-shim-runc-v2", "conmon", "pause"} {
		own += after.PSS[program] - before.PSS[program]
	}
	n.report("memory (PSS) that a running pod adds: shim or conmon, and pause", "MB", less, float64(own)/pods/1e6)
	n.report("with 100 pods: memory (PSS) of all", "MB", less, float64(after.Total())/1e6)
	if err := n.rest(ctx, "with 100 pods: processor time of all"); err != nil {
		return err
	}
	return nil
}
