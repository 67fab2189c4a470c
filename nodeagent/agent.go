package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/nodeagent/containerlog"
	"github.com/skiff-project/skiff/nodeagent/eviction"
	"github.com/skiff-project/skiff/nodeagent/node"
	"github.com/skiff-project/skiff/nodeagent/objects"
	"github.com/skiff-project/skiff/nodeagent/podcerts"
	"github.com/skiff-project/skiff/nodeagent/podfiles"
	"github.com/skiff-project/skiff/nodeagent/podworker"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/nodeagent/status"
	"github.com/skiff-project/skiff/nodeagent/volumes"
	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/run"
)

// Version is what the node says that it runs.
const Version = "v1.37.2+skiff"

// Agent runs the pods of a node.
type Agent struct {
	cfg      Config
	client   kubernetes.Interface
	engine   *engine // runtime, images, network
	volumes  *volumes.Manager
	objects  *objects.Cache
	writer   *status.Writer
	mirrors  *mirrors
	certs    *podcerts.Manager
	metrics  *metrics
	keeper   *node.Keeper
	manager  *eviction.Manager
	recorder record.EventRecorder
	addrs    []string
	capacity corev1.ResourceList
	services *services
	workers  podworker.Config
	runtime  runtime.Runtime
	// inputs of the loop
	asks     chan func()
	bundled  chan struct{} // closed when the images that came with the node are loaded
	podCtx   context.Context
	nodeSeen chan struct{} // closed when the Node object is known
	nodeOnce sync.Once

	mu    sync.RWMutex // guards what others than the loop read
	pods  map[types.UID]*entry
	node  *corev1.Node
	ready bool // the loop has seen all pods of the API
}

// New checks the configuration and opens the node's stores. Nothing runs yet.
func New(cfg Config) (*Agent, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, asks: make(chan func()), bundled: make(chan struct{}), pods: map[types.UID]*entry{}, nodeSeen: make(chan struct{})}
	for _, dir := range []string{cfg.RootDir, cfg.LogRoot, cfg.LinkRoot} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
	}
	var err error
	if a.client, err = kubernetes.NewForConfig(client.As(cfg.API, "nodeagent")); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if a.addrs, err = node.Addresses(cfg.NodeIPs, serverAddress(cfg.API.Host)); err != nil {
		return nil, err
	}
	if a.capacity, err = node.Capacity(cfg.RootDir, cfg.MaxPods); err != nil {
		return nil, err
	}
	if a.engine, err = openEngine(cfg); err != nil {
		return nil, err
	}
	a.runtime = a.engine.runtime
	return a, nil
}

// serverAddress is host:port of the API server, for finding out which address of ours faces it.
func serverAddress(host string) string {
	u, err := url.Parse(host)
	if err != nil || u.Host == "" {
		return host
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return u.Host
}

// Run works until ctx ends. Containers go on running afterwards.
func (a *Agent) Run(ctx context.Context) error {
	defer a.engine.close()
	version, err := a.runtime.Version(ctx)
	if err != nil {
		return fmt.Errorf("container runtime: %w", err)
	}
	if len(a.cfg.PodCIDRs) > 0 {
		if err := a.runtime.SetPodCIDRs(ctx, a.cfg.PodCIDRs); err != nil {
			return fmt.Errorf("--pod-cidr: %w", err)
		}
	}
	podCtx, stopPods := context.WithCancel(ctx)
	defer stopPods()
	a.podCtx = podCtx
	events := a.startEvents(podCtx)
	defer events.Shutdown()
	if err := a.assemble(podCtx, version); err != nil {
		return err
	}
	var parts run.Group
	parts.Add("images", func(ctx context.Context) error {
		a.engine.importBundles(ctx, a.cfg.ImageBundleDir, a.cfg.Log)
		close(a.bundled)
		<-ctx.Done()
		return nil
	})
	parts.Add("node", a.keeper.Run)
	parts.Add("pods", a.loop)
	parts.Add("housekeeping", a.housekeeping)
	parts.Add("interface", a.serve)
	parts.Add("logs", (&containerlog.Rotator{Runtime: a.runtime, MaxFiles: 5, Log: a.cfg.Log}).Run)
	parts.Add("health", a.serveHealth)
	err = parts.Run(ctx)
	stopPods()
	a.writer.Wait()
	a.objects.Wait()
	return err
}

// assemble joins the parts that need each other.
func (a *Agent) assemble(ctx context.Context, version runtime.Version) error {
	log := a.cfg.Log
	a.writer = status.NewWriter(ctx, a.client, log)
	a.mirrors = newMirrors(ctx, a.client, a.writer, a.cfg.NodeName, log)
	a.objects = objects.New(ctx, a.client, log, a.objectsChanged)
	a.services = newServices(a.client)
	var err error
	a.certs = podcerts.New(a.client, a.recorder, func() *corev1.Node {
		a.mu.RLock()
		defer a.mu.RUnlock()
		return a.node
	})
	a.volumes, err = volumes.New(volumes.Config{Root: a.cfg.RootDir, Objects: newSources(ctx, a.client, a.objects, a.bundlesChanged), Certificates: a.certs,
		HostIPs: func() []string { return a.addrs }, Allocatable: a.allocatable})
	if err != nil {
		return err
	}
	a.metrics = newMetrics(a)
	a.manager = eviction.New(eviction.Config{DataDir: a.cfg.RootDir})
	a.keeper = node.New(node.Config{
		Name: a.cfg.NodeName, Hostname: a.cfg.NodeName, Client: a.client, Recorder: a.recorder, Log: log, Addresses: a.addrs, Labels: a.cfg.Labels, Taints: a.cfg.Taints,
		Register: a.cfg.Register, Port: int32(a.cfg.Port), Capacity: a.capacity, Reserved: a.cfg.Reserved,
		Info: node.Info(Version, version.String()), Images: a.nodeImages, Ready: a.runtime.Ready, Pressure: a.manager.Pressure,
		Handlers: a.engine.handlers(), Features: declaredFeatures, Seen: a.nodeChanged,
	})
	a.workers = podworker.Config{
		Runtime: a.runtime, RuntimeName: version.Name, Images: a.engine.images, Bundled: a.bundled, Volumes: a.volumes, Objects: a.objects,
		Status: a.mirrors, Recorder: a.recorder, Log: log,
		Resolver:  podfiles.Resolver{ClusterDNS: a.cfg.ClusterDNS, ClusterDomain: a.cfg.ClusterDomain, NodeFile: a.cfg.ResolvConf},
		HostsFile: "/etc/hosts", Services: a.services.list, HostIPs: func() []string { return a.addrs },
		Capacity: func() corev1.ResourceList { return a.capacity }, Allocatable: a.allocatable,
		Handler: a.runtimeHandler, Allocate: a.allocate,
		LogRoot: a.cfg.LogRoot, LinkRoot: a.cfg.LinkRoot, SeccompRoot: a.cfg.SeccompRoot, MaxRestartDelay: a.cfg.MaxRestartDelay,
		RecursiveReadOnly: true, ObserveProbe: a.metrics.probe, ObserveStart: func(d time.Duration) { a.metrics.starts.Observe(d.Seconds()) }, Released: a.released, Finished: a.finished,
	}
	return nil
}

// declaredFeatures tell API server and scheduler what this agent can do beyond every node's duty.
var declaredFeatures = []string{"RestartAllContainersOnContainerExits"}

func (a *Agent) allocatable() corev1.ResourceList { return a.keeper.Allocatable() }

func (a *Agent) startEvents(ctx context.Context) record.EventBroadcaster {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(eventSink(a.client))
	a.recorder = b.NewRecorder(clientscheme.Scheme, corev1.EventSource{Component: "kubelet", Host: a.cfg.NodeName})
	return b
}

func (a *Agent) objectsChanged(uid types.UID) {
	a.mu.RLock()
	e := a.pods[uid]
	a.mu.RUnlock()
	if e != nil {
		e.worker.ObjectsChanged()
	}
}

// bundlesChanged has the volumes that show trust bundles written anew.
func (a *Agent) bundlesChanged() {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, e := range a.pods {
		if showsBundles(e.pod) {
			e.worker.ObjectsChanged()
		}
	}
}

func showsBundles(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if p := pod.Spec.Volumes[i].Projected; p != nil {
			for _, s := range p.Sources {
				if s.ClusterTrustBundle != nil {
					return true
				}
			}
		}
	}
	return false
}

// nodeChanged hears of the node object: its pod range, labels and taints matter here.
func (a *Agent) nodeChanged(n *corev1.Node) {
	a.mu.Lock()
	before := a.node
	a.node = n
	a.mu.Unlock()
	a.nodeOnce.Do(func() { close(a.nodeSeen) })
	if len(a.cfg.PodCIDRs) > 0 || len(n.Spec.PodCIDRs) == 0 || before != nil && len(before.Spec.PodCIDRs) > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(a.podCtx, time.Minute)
	defer cancel()
	if err := a.runtime.SetPodCIDRs(ctx, n.Spec.PodCIDRs); err != nil && !errors.Is(err, context.Canceled) {
		a.cfg.Log.Error("pod range not set", "ranges", n.Spec.PodCIDRs, "err", err)
		return
	}
	a.keeper.Wake()
}

func (a *Agent) nodeImages(ctx context.Context) []corev1.ContainerImage {
	list, err := a.engine.images.List(ctx)
	if err != nil {
		a.cfg.Log.Warn("images not listed", "err", err)
		return nil
	}
	return containerImages(list)
}
