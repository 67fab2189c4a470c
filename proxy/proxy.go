package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/run"
	"github.com/skiff-project/skiff/proxy/conntrack"
	"github.com/skiff-project/skiff/proxy/health"
	"github.com/skiff-project/skiff/proxy/iptables"
	"github.com/skiff-project/skiff/proxy/rules"
)

// Config says how the proxy runs.
type Config struct {
	// API is how to reach the API server.
	API *rest.Config
	// NodeName is the node that this process runs on.
	NodeName string
	// ClusterCIDRs are the pods' addresses, ServiceCIDRs the services'.
	ClusterCIDRs, ServiceCIDRs []netip.Prefix
	// MasqueradeAll masquerades all traffic to ClusterIPs.
	MasqueradeAll bool
	// HealthAddress and MetricsAddress are host:port; empty means none.
	HealthAddress, MetricsAddress string
}

// checkEvery is how often the proxy looks whether its rules are still linked into the kernel's chains.
const checkEvery = time.Minute

// retryAfter is the pause after a failed transaction.
const retryAfter = time.Second

// backend is what holds the kernel to the rules.
type backend interface {
	Set(name types.NamespacedName, ports []*rules.Port)
	Apply(ctx context.Context) error
	Check(ctx context.Context)
}

// Proxy is the door.
type Proxy struct {
	Config
	clients  kubernetes.Interface
	backend  backend
	services corelisters.ServiceLister
	slices   cache.Indexer
	node     rules.Node
	current  map[types.NamespacedName][]*rules.Port
	health   *health.Servers
	stats    stats

	mu    sync.Mutex
	dirty map[types.NamespacedName]bool
	wake  chan struct{}
}

// stats are read by the health and metrics endpoints.
type stats struct {
	lastApplied, waitingSince atomic.Int64 // Unix nanoseconds; 0: never, nothing waits
	applies, failures         atomic.Int64
	lastDuration              atomic.Int64
	services                  atomic.Int64
}

const byService = "service"

// New makes a proxy; it fails where the node lacks iptables.
func New(c Config) (*Proxy, error) {
	if c.NodeName == "" {
		return nil, fmt.Errorf("proxy: no node name")
	}
	clients, err := kubernetes.NewForConfig(c.API)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	rulesOfNode, err := iptables.New(iptables.Config{
		Family: corev1.IPv4Protocol, ClusterCIDRs: ofIPv4(c.ClusterCIDRs), ServiceCIDRs: ofIPv4(c.ServiceCIDRs),
		MasqueradeAll: c.MasqueradeAll, LocalNodePorts: true,
	})
	if err != nil {
		return nil, err
	}
	return &Proxy{
		Config: c, clients: clients, backend: rulesOfNode, node: rules.Node{Name: c.NodeName},
		current: map[types.NamespacedName][]*rules.Port{}, health: health.New(),
		dirty: map[types.NamespacedName]bool{}, wake: make(chan struct{}, 1),
	}, nil
}

func ofIPv4(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if p.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out
}

// Run keeps the node's rules up to date until ctx ends. The rules stay when it returns: connections go on while the
// proxy is restarted.
func (p *Proxy) Run(ctx context.Context) error {
	if err := prepareKernel(); err != nil {
		return err
	}
	defer p.health.Close()
	stop, err := p.serve(ctx)
	if err != nil {
		return err
	}
	defer stop()
	node, err := p.ownNode(ctx)
	if err != nil {
		return err
	}
	p.node.Zone = node.Labels[corev1.LabelTopologyZone]
	if err := routeServices(p.ServiceCIDRs, node); err != nil {
		return err
	}
	factory := client.Informers(p.clients, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		// What other proxies serve, and headless services, which need no rules.
		o.LabelSelector = "!service.kubernetes.io/service-proxy-name,!" + corev1.IsHeadlessService
	}))
	synced, err := p.watch(factory)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if err := client.Sync(ctx, synced...); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	go run.GiveBackWhenIdle(ctx)
	p.loop(ctx)
	return nil
}

// ownNode waits for the Node object of this machine: its address is needed, and the node agent may just be making it.
func (p *Proxy) ownNode(ctx context.Context) (*corev1.Node, error) {
	found := make(chan *corev1.Node, 1)
	source := cache.NewListWatchFromClient(p.clients.CoreV1().RESTClient(), "nodes", "", fields.OneTermEqualSelector("metadata.name", p.NodeName))
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{ListerWatcher: source, ObjectType: &corev1.Node{}, Handler: cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { offer(found, o) },
		UpdateFunc: func(_, o any) { offer(found, o) },
	}})
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go informer.Run(watching.Done())
	select {
	case n := <-found:
		return n, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for node %s: %w", p.NodeName, context.Cause(ctx))
	}
}

func offer(found chan *corev1.Node, o any) {
	node, ok := o.(*corev1.Node)
	if !ok || len(internalAddresses(node)) == 0 {
		return
	}
	select {
	case found <- node:
	default:
	}
}

func (p *Proxy) watch(f informers.SharedInformerFactory) ([]cache.InformerSynced, error) {
	services := f.Core().V1().Services()
	endpoints := f.Discovery().V1().EndpointSlices()
	p.services = services.Lister()
	if err := endpoints.Informer().AddIndexers(cache.Indexers{byService: func(o any) ([]string, error) {
		if name := owner(o); name.Name != "" {
			return []string{name.String()}, nil
		}
		return nil, nil
	}}); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	p.slices = endpoints.Informer().GetIndexer()
	var synced []cache.InformerSynced
	for _, informer := range []cache.SharedIndexInformer{services.Informer(), endpoints.Informer()} {
		handle := func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if name := owner(o); name.Name != "" {
				p.touch(name)
			}
		}
		r, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: handle, DeleteFunc: handle, UpdateFunc: func(old, o any) {
			handle(old)
			handle(o)
		}})
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		synced = append(synced, r.HasSynced)
	}
	return synced, nil
}

// owner is the service that an object is about.
func owner(o any) types.NamespacedName {
	switch o := o.(type) {
	case *corev1.Service:
		return types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	case *discoveryv1.EndpointSlice:
		return types.NamespacedName{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}
	}
	return types.NamespacedName{}
}

func (p *Proxy) touch(name types.NamespacedName) {
	p.mu.Lock()
	p.dirty[name] = true
	p.mu.Unlock()
	p.stats.waitingSince.CompareAndSwap(0, time.Now().UnixNano())
	p.signal()
}

func (p *Proxy) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *Proxy) take() map[types.NamespacedName]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.dirty
	p.dirty = map[types.NamespacedName]bool{}
	return out
}

func (p *Proxy) loop(ctx context.Context) {
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	p.signal() // a cluster without services needs its rules too
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-check.C:
			p.backend.Check(ctx)
		}
		if p.apply(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryAfter):
			p.signal()
		}
	}
}

// apply brings the kernel up to date with the services that have changed.
func (p *Proxy) apply(ctx context.Context) bool {
	start := time.Now()
	var stale []conntrack.Flow
	for name := range p.take() {
		stale = append(stale, p.update(name)...)
	}
	if err := p.backend.Apply(ctx); err != nil {
		p.stats.failures.Add(1)
		slog.Error("rules not applied", "error", err)
		return false
	}
	// Only now: a flow that is forgotten before the rules change would be made anew by the old ones.
	if n, err := conntrack.Forget(stale, corev1.IPv4Protocol); err != nil {
		slog.Warn("stale UDP flows may live on", "error", err)
	} else if n > 0 {
		slog.Debug("stale UDP flows forgotten", "flows", n)
	}
	p.stats.applies.Add(1)
	p.stats.lastDuration.Store(int64(time.Since(start)))
	p.stats.services.Store(int64(len(p.current)))
	p.stats.lastApplied.Store(time.Now().UnixNano())
	p.mu.Lock()
	if len(p.dirty) == 0 {
		p.stats.waitingSince.Store(0)
	}
	p.mu.Unlock()
	return true
}

func (p *Proxy) update(name types.NamespacedName) []conntrack.Flow {
	svc, err := p.services.Services(name.Namespace).Get(name.Name)
	if err != nil {
		svc = nil // the lister knows one error: not found
	}
	var list []*discoveryv1.EndpointSlice
	objects, err := p.slices.ByIndex(byService, name.String())
	if err != nil {
		slog.Error("endpoint slices", "service", name, "error", err)
		return nil
	}
	for _, o := range objects {
		list = append(list, o.(*discoveryv1.EndpointSlice))
	}
	ports := rules.Compute(svc, list, p.node, corev1.IPv4Protocol)
	old := p.current[name]
	if len(ports) == 0 {
		delete(p.current, name)
	} else {
		p.current[name] = ports
	}
	p.backend.Set(name, ports)
	p.setHealth(name, ports)
	return conntrack.Stale(old, ports)
}

func (p *Proxy) setHealth(name types.NamespacedName, ports []*rules.Port) {
	var port uint16
	local := 0
	for _, q := range ports {
		port, local = q.HealthPort, max(local, q.LocalReady)
	}
	if err := p.health.Set(name, port, local); err != nil {
		slog.Error("service health check", "error", err)
	}
}
