package nodelifecycle

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	coordinationinformers "k8s.io/client-go/informers/coordination/v1"
	coordinationlisters "k8s.io/client-go/listers/coordination/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const name = "node-controller"

// Config is how patient the controller is.
type Config struct {
	// Grace is how long a node may be silent; StartupGrace the same for one that has never said anything.
	Grace, StartupGrace time.Duration
	// EvictionRate is the nodes a second, per zone, whose pods are evicted; SecondRate the same in a zone of which more
	// than the share Unhealthy is not ready, if the zone has more than Large nodes; in smaller ones nothing is evicted then.
	EvictionRate, SecondRate float32
	Unhealthy                float32
	Large                    int
}

// Controller watches over nodes.
type Controller struct {
	env      control.Env
	config   Config
	events   record.EventRecorder
	nodes    corelisters.NodeLister
	leases   coordinationlisters.LeaseLister
	podIndex cache.Indexer
	store    cache.Store // of nodes
	loop     *control.Loop
	writes   control.Writes

	mu      sync.Mutex // guards what follows
	health  map[string]*health
	zones   limits
	allDown bool
}

// New answers the controller of nodes' lives.
func New(env control.Env, config Config) *Controller {
	core := env.Informers.Core().V1()
	// Leases of nodes only: every other component's changes as often and says nothing about nodes.
	leases := coordinationinformers.NewLeaseInformer(env.Client, corev1.NamespaceNodeLease, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	control.IndexByNode(core.Pods().Informer())
	c := &Controller{
		env: env, config: config, events: env.Events(name), nodes: core.Nodes().Lister(), leases: coordinationlisters.NewLeaseLister(leases.GetIndexer()),
		podIndex: core.Pods().Informer().GetIndexer(), store: core.Nodes().Informer().GetStore(),
		health: map[string]*health{}, zones: limits{config: config},
	}
	c.loop = control.NewLoop(env, name, 8, c.reconcile)
	c.loop.Owns(leases)
	control.Watch(c.loop, core.Nodes().Informer(), control.Self[*corev1.Node])
	control.Watch(c.loop, leases, func(lease *coordinationv1.Lease) []string { return []string{lease.Name} })
	c.loop.Needs(core.Pods().Informer().HasSynced)
	return c
}

// Run watches until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
