package tainteviction

import (
	"context"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller evicts pods.
type Controller struct {
	env      control.Env
	events   record.EventRecorder
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
	podIndex cache.Indexer
	loop     *control.Loop

	mu    sync.Mutex
	since map[string]scheduled // pods whose time is running, by key
}

type scheduled struct {
	uid   types.UID
	since time.Time
}

// New answers the controller that evicts.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	control.IndexByNode(core.Pods().Informer())
	c := &Controller{
		env: env, events: env.Events("taint-eviction-controller"), pods: core.Pods().Lister(), nodes: core.Nodes().Lister(),
		podIndex: core.Pods().Informer().GetIndexer(), since: map[string]scheduled{},
	}
	// It acts as the node controller, of which it was once a part: so the roles say.
	c.loop = control.NewLoop(env, "node-controller", 8, c.reconcile)
	control.WatchChanges(c.loop, core.Nodes().Informer(), c.tainted)
	control.WatchChanges(c.loop, core.Pods().Informer(), func(old, new **corev1.Pod) []string {
		switch {
		case new == nil:
			return control.Self(*old)
		case (*new).Spec.NodeName == "":
			return nil
		case old != nil && (*old).Spec.NodeName == (*new).Spec.NodeName && reflect.DeepEqual((*old).Spec.Tolerations, (*new).Spec.Tolerations):
			return nil
		}
		return control.Self(*new)
	})
	return c
}

// Run evicts until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// tainted answers the pods of a node whose NoExecute taints have changed.
func (c *Controller) tainted(old, new **corev1.Node) []string {
	taints := func(n **corev1.Node) []corev1.Taint {
		if n == nil {
			return nil
		}
		return noExecute(*n)
	}
	if reflect.DeepEqual(taints(old), taints(new)) {
		return nil
	}
	node := new
	if node == nil {
		node = old
	}
	var keys []string
	for _, pod := range control.OnNode(c.podIndex, (*node).Name) {
		keys = append(keys, control.Key(pod.Namespace, pod.Name))
	}
	return keys
}
