package podgc

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// surplus is the key under which the number of ended pods is looked at. It is no name of a pod.
const surplus = ""

// Controller collects pods.
type Controller struct {
	env      control.Env
	keep     int
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
	podIndex cache.Indexer
	loop     *control.Loop

	mu      sync.Mutex
	missing map[string]time.Time // nodes that pods name and that are not there, since when
}

// New answers the controller. keep is how many ended pods are left alone; none are collected when it is 0 or less.
func New(env control.Env, keep int) *Controller {
	core := env.Informers.Core().V1()
	control.IndexByNode(core.Pods().Informer())
	c := &Controller{
		env: env, keep: keep, pods: core.Pods().Lister(), nodes: core.Nodes().Lister(),
		podIndex: core.Pods().Informer().GetIndexer(), missing: map[string]time.Time{},
	}
	c.loop = control.NewLoop(env, "pod-garbage-collector", 4, c.reconcile)
	c.loop.Needs(core.Nodes().Informer().HasSynced)
	control.WatchChanges(c.loop, core.Pods().Informer(), func(_, new **corev1.Pod) []string {
		if new == nil {
			return nil
		}
		pod := *new
		if control.Ended(pod) && c.keep > 0 {
			c.loop.AddAfter(surplus, surplusPeriod)
		}
		if pod.DeletionTimestamp == nil && pod.Spec.NodeName == "" {
			return nil
		}
		if pod.DeletionTimestamp == nil {
			if _, err := c.nodes.Get(pod.Spec.NodeName); err == nil {
				return nil
			}
		}
		return control.Self(pod)
	})
	control.WatchChanges(c.loop, core.Nodes().Informer(), func(old, new **corev1.Node) []string {
		if new != nil && !outOfService(*new) {
			return nil
		}
		name := ""
		if new != nil {
			name = (*new).Name
		} else {
			name = (*old).Name
		}
		var keys []string
		for _, pod := range control.OnNode(c.podIndex, name) {
			keys = append(keys, control.Key(pod.Namespace, pod.Name))
		}
		return keys
	})
	return c
}

// Run collects until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
