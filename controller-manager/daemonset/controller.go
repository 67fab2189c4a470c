package daemonset

import (
	"context"
	"reflect"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/history"
)

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// Controller runs DaemonSets.
type Controller struct {
	env      control.Env
	events   record.EventRecorder
	control  control.Pods
	sets     appslisters.DaemonSetLister
	nodes    corelisters.NodeLister
	store    cache.Store // of sets
	podIndex cache.Indexer
	history  history.Keeper
	loop     *control.Loop
	writes   control.Writes

	mu       sync.Mutex
	failures map[string]failure // by set and node
}

// failure slows down the replacement of pods that a node keeps refusing.
type failure struct {
	last  time.Time
	delay time.Duration
}

// New answers the controller of DaemonSets.
func New(env control.Env) *Controller {
	core, apps := env.Informers.Core().V1(), env.Informers.Apps().V1()
	control.IndexByController(core.Pods().Informer())
	control.IndexByController(apps.ControllerRevisions().Informer())
	events := env.Events("daemonset-controller")
	c := &Controller{
		env: env, events: events, control: control.Pods{Client: env.Client, Events: events}, sets: apps.DaemonSets().Lister(),
		nodes: core.Nodes().Lister(), store: apps.DaemonSets().Informer().GetStore(), podIndex: core.Pods().Informer().GetIndexer(),
		failures: map[string]failure{},
	}
	c.history = history.Keeper{Client: env.Client, Index: apps.ControllerRevisions().Informer().GetIndexer(), Writes: &c.writes}
	c.loop = control.NewLoop(env, "daemon-set-controller", 2, c.reconcile)
	control.Watch(c.loop, apps.DaemonSets().Informer(), control.Self[*appsv1.DaemonSet])
	control.Watch(c.loop, core.Pods().Informer(), c.setsOf)
	control.Watch(c.loop, apps.ControllerRevisions().Informer(), func(r *appsv1.ControllerRevision) []string { return control.OwnerKey(r, kind) })
	control.WatchChanges(c.loop, core.Nodes().Informer(), func(old, new **corev1.Node) []string {
		if old != nil && new != nil && reflect.DeepEqual((*old).Labels, (*new).Labels) && reflect.DeepEqual((*old).Spec.Taints, (*new).Spec.Taints) {
			return nil // a heartbeat
		}
		return c.all()
	})
	return c
}

// Run runs DaemonSets until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) all() []string {
	sets, err := c.sets.List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, set := range sets {
		keys = append(keys, control.Key(set.Namespace, set.Name))
	}
	return keys
}

// setsOf answers the set that controls pod, or those that might adopt it.
func (c *Controller) setsOf(pod *corev1.Pod) []string {
	if metav1.GetControllerOfNoCopy(pod) != nil {
		return control.OwnerKey(pod, kind)
	}
	if len(pod.Labels) == 0 {
		return nil
	}
	sets, err := c.sets.DaemonSets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, set := range sets {
		if selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector); err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, control.Key(set.Namespace, set.Name))
		}
	}
	return keys
}

const (
	firstDelay = time.Second
	maxDelay   = 15 * time.Minute
)

// mayReplace says whether a failed pod of a set on a node may be replaced now, and how long to wait if not.
func (c *Controller) mayReplace(key, node string, now time.Time) (bool, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, had := c.failures[key+"@"+node]
	if had && now.Sub(f.last) < f.delay {
		return false, f.delay - now.Sub(f.last)
	}
	switch {
	case !had || now.Sub(f.last) > 2*maxDelay:
		f.delay = firstDelay
	default:
		f.delay = min(2*f.delay, maxDelay)
	}
	f.last = now
	c.failures[key+"@"+node] = f
	return true, 0
}
