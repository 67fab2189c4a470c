package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/health"
	"github.com/skiff-project/skiff/pkg/leader"
	"github.com/skiff-project/skiff/pkg/run"
	"github.com/skiff-project/skiff/scheduler/filter"
	"github.com/skiff-project/skiff/scheduler/nodes"
	"github.com/skiff-project/skiff/scheduler/queue"
)

// Scheduler places pods. All fields below the first group belong to the loop.
type Scheduler struct {
	Config
	log      *slog.Logger
	clients  kubernetes.Interface
	recorder events.EventRecorder
	inbox    *inbox
	bindings chan binding
	stats    stats

	namespaces corelisters.NamespaceLister
	budgets    policylisters.PodDisruptionBudgetLister
	volumes    *filter.Volumes

	queue     *queue.Queue
	table     *nodes.Table
	classes   *classes
	rules     []filter.Rule
	nominated map[types.UID]nomination
	// assumed pods have been given a node whose binding the API has not confirmed.
	assumed    map[types.UID]bool
	feasible   []place
	turn       int
	imageShare map[string]float64
	imagesAt   uint64
}

// stats are counted by the loop and the binders and read by the metrics endpoint.
type stats struct{ scheduled, unschedulable, failed, preempted atomic.Int64 }

// New makes a scheduler. It opens no connection.
func New(c Config) (*Scheduler, error) {
	c = c.withDefaults()
	if c.API == nil {
		return nil, fmt.Errorf("scheduler: no API server configured")
	}
	clients, err := kubernetes.NewForConfig(c.API)
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	s := &Scheduler{
		Config: c, clients: clients, log: slog.Default().With("component", "scheduler"),
		inbox: newInbox(), bindings: make(chan binding, 4*c.Binders),
		queue: queue.New(), table: nodes.NewTable(), classes: newClasses(c.Classes),
		nominated: map[types.UID]nomination{}, assumed: map[types.UID]bool{}, imageShare: map[string]float64{},
	}
	s.table.PodChanged = func(p *nodes.Pod, n *nodes.Node, sign int32) {
		s.classes.podChanged(p, n, sign, s.table.Layout)
	}
	return s, nil
}

// Run places pods while this process leads. It returns nil when ctx ends and an error when it could not go on: losing
// the lease, above all, after which the process should end and start anew.
func (s *Scheduler) Run(ctx context.Context) error {
	var parts run.Group
	parts.Add("health endpoint", func(ctx context.Context) error {
		c := s.Health
		c.Client = s.clients
		return health.Run(ctx, c)
	})
	parts.Add("memory", func(ctx context.Context) error {
		run.GiveBackWhenIdle(ctx)
		return nil
	})
	parts.Add("scheduling", func(ctx context.Context) error { return leader.Run(ctx, s.API, s.Leader, s.lead) })
	return parts.Run(ctx)
}

func (s *Scheduler) lead(ctx context.Context) error {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.clients.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("start recording events: %w", err)
	}
	defer broadcaster.Shutdown()
	s.recorder = broadcaster.NewRecorder(clientScheme, s.Name)

	factory := client.Informers(s.clients)
	synced, err := s.watch(factory)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if err := client.Sync(ctx, synced...); err != nil {
		return err
	}
	return s.loop(ctx)
}

// watch connects the informers with the inbox.
func (s *Scheduler) watch(f informers.SharedInformerFactory) ([]cache.InformerSynced, error) {
	// Finished pods hold nothing; the server need not send them.
	podInformer := f.InformerFor(&corev1.Pod{}, newPodInformer)
	if err := podInformer.SetTransform(trim); err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	s.namespaces = f.Core().V1().Namespaces().Lister()
	s.budgets = f.Policy().V1().PodDisruptionBudgets().Lister()
	s.volumes = &filter.Volumes{
		Claims: f.Core().V1().PersistentVolumeClaims().Lister(), Volumes: f.Core().V1().PersistentVolumes().Lister(),
		Classes: f.Storage().V1().StorageClasses().Lister(),
	}
	s.rules = filter.Local(s.volumes)

	storage := func(any, any) message { return storageChanged{} }
	var synced []cache.InformerSynced
	for _, w := range []struct {
		informer cache.SharedIndexInformer
		handle   func(old, new any) message
	}{
		{podInformer, podMessage},
		{f.Core().V1().Nodes().Informer(), nodeMessage},
		{f.Core().V1().Namespaces().Informer(), namespaceMessage},
		{f.Policy().V1().PodDisruptionBudgets().Informer(), nil},
		{f.Core().V1().PersistentVolumeClaims().Informer(), storage},
		{f.Core().V1().PersistentVolumes().Informer(), storage},
		{f.Storage().V1().StorageClasses().Informer(), storage},
	} {
		if w.handle == nil {
			synced = append(synced, w.informer.HasSynced)
			continue
		}
		registration, err := w.informer.AddEventHandler(s.inbox.handler(w.handle))
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		synced = append(synced, registration.HasSynced)
	}
	return synced, nil
}

func newPodInformer(c kubernetes.Interface, _ resyncPeriod) cache.SharedIndexInformer {
	unfinished := fields.ParseSelectorOrDie("status.phase!=" + string(corev1.PodSucceeded) + ",status.phase!=" + string(corev1.PodFailed)).String()
	return informers.NewSharedInformerFactoryWithOptions(c, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = unfinished
	})).Core().V1().Pods().Informer()
}

func (s *Scheduler) namespaceLabels(name string) labels.Set {
	ns, err := s.namespaces.Get(name)
	if err != nil {
		return nil
	}
	return ns.Labels
}
