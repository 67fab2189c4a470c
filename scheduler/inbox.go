package scheduler

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

type resyncPeriod = time.Duration

var clientScheme = scheme.Scheme

// message is something the loop has to know.
type message interface{}

type (
	podSet           struct{ pod *corev1.Pod }
	podGone          struct{ pod *corev1.Pod }
	nodeSet          struct{ node *corev1.Node }
	nodeGone         struct{ name string }
	namespaceChanged struct{}
	storageChanged   struct{}
	// bound is a binder's report.
	bound struct {
		pod  *nodes.Pod
		node string
		err  error
	}
)

// inbox is an unbounded queue of messages: informers must never wait for the loop.
type inbox struct {
	mu     sync.Mutex
	waits  []message
	signal chan struct{}
}

func newInbox() *inbox { return &inbox{signal: make(chan struct{}, 1)} }

func (b *inbox) put(m message) {
	b.mu.Lock()
	b.waits = append(b.waits, m)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// take returns all messages; free is a slice that may be used for the next ones.
func (b *inbox) take(free []message) []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.waits
	b.waits = free[:0]
	return out
}

// handler turns informer events into messages; message makes one of the old and the new object, either of which may be
// nil, and returns nil where there is nothing to tell.
func (b *inbox) handler(make func(old, new any) message) cache.ResourceEventHandler {
	tell := func(old, new any) {
		if m := make(old, new); m != nil {
			b.put(m)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { tell(nil, o) },
		UpdateFunc: func(old, o any) { tell(old, o) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			tell(o, nil)
		},
	}
}

func podMessage(old, new any) message {
	if pod, ok := new.(*corev1.Pod); ok {
		return podSet{pod}
	}
	if pod, ok := old.(*corev1.Pod); ok {
		return podGone{pod}
	}
	return nil
}

func nodeMessage(old, new any) message {
	if node, ok := new.(*corev1.Node); ok {
		return nodeSet{node}
	}
	if node, ok := old.(*corev1.Node); ok {
		return nodeGone{node.Name}
	}
	return nil
}

func namespaceMessage(old, new any) message {
	was, _ := old.(*corev1.Namespace)
	is, _ := new.(*corev1.Namespace)
	if was != nil && is != nil && sameLabels(was.Labels, is.Labels) {
		return nil
	}
	return namespaceChanged{}
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// trim drops from a pod what no rule reads before it enters the cache: with a node's worth of pods per node, this is
// most of the scheduler's memory.
func trim(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	pod.ManagedFields, pod.Annotations = nil, nil
	keep := func(c *corev1.Container) {
		*c = corev1.Container{Name: c.Name, Image: c.Image, Resources: c.Resources, Ports: c.Ports, RestartPolicy: c.RestartPolicy}
	}
	for i := range pod.Spec.InitContainers {
		keep(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		keep(&pod.Spec.Containers[i])
	}
	pod.Spec.EphemeralContainers = nil
	volumes := pod.Spec.Volumes[:0]
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			volumes = append(volumes, v)
		}
	}
	pod.Spec.Volumes = append([]corev1.Volume(nil), volumes...)
	return pod, nil
}
