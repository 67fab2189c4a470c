package nodeagent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/nodeagent/admission"
	"github.com/skiff-project/skiff/nodeagent/objects"
	"github.com/skiff-project/skiff/nodeagent/podworker"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// entry is a pod of this node.
type entry struct {
	pod    *corev1.Pod
	worker *podworker.Worker
	// holds says that the pod counts when others are admitted.
	holds  bool
	static bool
}

// change is what a source says about a pod. With gone the pod does not exist any more; with synced the source has told all
// that was there when it started.
type change struct {
	pod    *corev1.Pod
	gone   bool
	synced bool
	static bool
}

// loop owns the set of pods. It ends when ctx does, after all workers have; containers run on.
func (a *Agent) loop(ctx context.Context) error {
	found, err := a.find(ctx)
	if err != nil {
		return err
	}
	changes := make(chan change)
	events := a.runtime.Events(a.podCtx)
	a.watchPods(a.podCtx, changes)
	a.watchStatic(a.podCtx, changes)
	a.services.start(a.podCtx, a.wakeAll)
	a.watchNodes(a.podCtx)

	// Until the API's pods are known, new ones are collected: which of two is the older one decides who is admitted.
	var first []change
	defer a.waitForWorkers()
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-changes:
			switch {
			case c.synced && !c.static:
				a.begin(first, found)
				first, found = nil, nil
			case c.synced:
			case !a.ready && !c.static:
				first = append(first, c)
			default:
				a.take(c, found)
			}
		case e, ok := <-events:
			if ok {
				a.runtimeEvent(e)
			}
		case f := <-a.asks:
			f()
		}
	}
}

// find lists what the runtime has, by pod.
func (a *Agent) find(ctx context.Context) (map[types.UID]podworker.Found, error) {
	sandboxes, err := a.runtime.Sandboxes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	containers, err := a.runtime.Containers(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	found := map[types.UID]podworker.Found{}
	for _, s := range sandboxes {
		f := found[types.UID(s.Pod.UID)]
		f.Sandboxes = append(f.Sandboxes, s)
		found[types.UID(s.Pod.UID)] = f
	}
	for _, c := range containers {
		f := found[types.UID(c.Pod.UID)]
		f.Containers = append(f.Containers, c)
		found[types.UID(c.Pod.UID)] = f
	}
	return found, nil
}

// begin takes the pods that the API has when the agent starts, the oldest first, and ends what runs for pods that are no more.
func (a *Agent) begin(first []change, found map[types.UID]podworker.Found) {
	latest := map[types.UID]*corev1.Pod{}
	for _, c := range first {
		if c.gone {
			delete(latest, c.pod.UID)
		} else {
			latest[c.pod.UID] = c.pod
		}
	}
	pods := make([]*corev1.Pod, 0, len(latest))
	for _, p := range latest {
		pods = append(pods, p)
	}
	running := func(p *corev1.Pod) int {
		if len(found[p.UID].Containers) > 0 {
			return 0
		}
		return 1
	}
	slices.SortFunc(pods, func(x, y *corev1.Pod) int {
		return cmp.Or(cmp.Compare(running(x), running(y)), x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.UID, y.UID))
	})
	for _, p := range pods {
		a.add(p, found[p.UID], false)
		delete(found, p.UID)
	}
	for uid, f := range found {
		if _, known := a.pods[uid]; !known {
			a.abandoned(uid, f)
		}
	}
	a.mu.Lock()
	a.ready = true
	a.mu.Unlock()
	a.cfg.Log.Info("pods taken over", "pods", len(pods))
}

func (a *Agent) abandoned(uid types.UID, f podworker.Found) {
	var pod runtime.Pod
	switch {
	case len(f.Sandboxes) > 0:
		pod = f.Sandboxes[0].Pod
	case len(f.Containers) > 0:
		pod = f.Containers[0].Pod
	}
	a.cfg.Log.Info("pod is gone, ending its containers", "pod", pod.Namespace+"/"+pod.Name, "uid", uid)
	w := podworker.Abandoned(a.podCtx, &a.workers, pod, f)
	a.keep(uid, &entry{pod: &corev1.Pod{ObjectMeta: metaOf(pod)}, worker: w})
}

func metaOf(p runtime.Pod) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID)}
}

// take handles one change.
func (a *Agent) take(c change, found map[types.UID]podworker.Found) {
	if isMirror(c.pod) {
		a.mirrors.seen(c.pod, c.gone)
		return
	}
	e := a.pods[c.pod.UID]
	switch {
	case c.gone:
		if e != nil {
			// Deleted without grace: what still runs of it is on its way out and refuses no newcomer, as with the kubelet,
			// for which only pods count that the API server has.
			a.mu.Lock()
			e.holds = false
			a.mu.Unlock()
			e.worker.Gone()
		}
	case e == nil:
		a.add(c.pod, found[c.pod.UID], c.static)
		delete(found, c.pod.UID)
	default:
		a.mu.Lock()
		e.pod = c.pod
		e.holds = e.holds && !over(c.pod)
		a.mu.Unlock()
		a.writer.Know(c.pod)
		a.objects.Register(c.pod.UID, objects.Of(c.pod))
		e.worker.Update(c.pod)
	}
}

func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

// add gives a pod that was not known a worker, or refuses it.
func (a *Agent) add(pod *corev1.Pod, found podworker.Found, static bool) {
	if isMirror(pod) {
		a.mirrors.seen(pod, false)
		return
	}
	e := &entry{pod: pod, static: static, holds: !over(pod)}
	if !static {
		a.writer.Know(pod)
	} else {
		a.mirrors.add(pod)
	}
	fresh := e.holds && pod.DeletionTimestamp == nil && len(found.Containers) == 0 && len(found.Sandboxes) == 0
	if fresh && pod.Status.Phase != corev1.PodRunning {
		if r := admission.Check(pod, a.nodeNow(), a.holders(nil)); r != nil {
			a.refuse(e, r)
			return
		}
	}
	if e.holds {
		a.objects.Register(pod.UID, objects.Of(pod))
	}
	e.worker = podworker.New(a.podCtx, &a.workers, pod, found)
	a.keep(pod.UID, e)
}

func (a *Agent) refuse(e *entry, r *admission.Refusal) {
	a.cfg.Log.Info("pod refused", "pod", e.pod.Namespace+"/"+e.pod.Name, "reason", r.Reason, "message", r.Message)
	a.recorder.Event(e.pod, corev1.EventTypeWarning, r.Reason, r.Message)
	a.metrics.refusals.WithLabelValues(r.Reason).Inc()
	now := metav1.Now()
	a.mirrors.Set(e.pod, corev1.PodStatus{ObservedGeneration: e.pod.Generation, Phase: corev1.PodFailed, Reason: r.Reason,
		Message: "Pod was rejected: " + r.Message, QOSClass: podworker.QOS(e.pod), StartTime: &now})
	e.holds = false
	e.worker = podworker.Refused(a.podCtx, &a.workers, e.pod)
	a.keep(e.pod.UID, e)
}

func (a *Agent) keep(uid types.UID, e *entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pods[uid] = e
}

// nodeNow is the node as admission sees it.
func (a *Agent) nodeNow() *corev1.Node {
	a.mu.RLock()
	n := a.node
	a.mu.RUnlock()
	if n == nil {
		n = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: a.cfg.NodeName, Labels: a.cfg.Labels}}
	}
	n = n.DeepCopy()
	if n.Status.Allocatable == nil {
		n.Status.Allocatable = corev1.ResourceList{}
	}
	for name, q := range a.allocatable() {
		n.Status.Allocatable[name] = q
	}
	return n
}

// holders are the pods that count when another is admitted.
func (a *Agent) holders(but *corev1.Pod) []*corev1.Pod {
	var list []*corev1.Pod
	for _, e := range a.pods {
		if e.holds && (but == nil || e.pod.UID != but.UID) {
			list = append(list, e.pod)
		}
	}
	return list
}

// finished is called by a worker that has ended: its pod is gone, and all that was of it.
func (a *Agent) finished(uid types.UID) {
	a.ask(func() {
		a.objects.Register(uid, nil)
		a.certs.Forget(uid)
		a.mu.Lock()
		e := a.pods[uid]
		delete(a.pods, uid)
		a.mu.Unlock()
		if e != nil && e.static {
			a.mirrors.remove(uid)
		}
	})
}

// released is called when nothing of a pod runs any more: others may have its place.
func (a *Agent) released(uid types.UID) {
	a.ask(func() {
		if e := a.pods[uid]; e != nil {
			a.mu.Lock()
			e.holds = false
			a.mu.Unlock()
			a.objects.Register(uid, nil)
		}
	})
}

// ask has the loop run f. Nobody may wait for the loop who the loop may wait for, so it does not wait for f.
func (a *Agent) ask(f func()) {
	go func() {
		select {
		case a.asks <- f:
		case <-a.podCtx.Done():
		}
	}()
}

func (a *Agent) runtimeEvent(e runtime.Event) {
	if e.Kind == runtime.Missed {
		a.wakeAll()
		return
	}
	if entry := a.pods[types.UID(e.PodUID)]; entry != nil {
		entry.worker.Look()
	}
}

func (a *Agent) wakeAll() {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, e := range a.pods {
		e.worker.Look()
		e.worker.ObjectsChanged()
	}
}

func (a *Agent) waitForWorkers() {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, e := range a.pods {
		select {
		case <-e.worker.Done():
		case <-time.After(5 * time.Second):
			a.cfg.Log.Warn("pod worker did not end in time", "pod", e.pod.Namespace+"/"+e.pod.Name)
		}
	}
}

// allocate decides on a resize in place. It runs on a worker's goroutine and asks the loop, which never waits for workers.
func (a *Agent) allocate(pod *corev1.Pod, granted map[string]corev1.ResourceRequirements) *corev1.PodCondition {
	reply := make(chan *corev1.PodCondition, 1)
	a.ask(func() { reply <- a.decideResize(pod) })
	select {
	case c := <-reply:
		return c
	case <-a.podCtx.Done():
		return &corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonDeferred}
	}
}

func (a *Agent) decideResize(pod *corev1.Pod) *corev1.PodCondition {
	n := a.nodeNow()
	refusal := func(reason string, r *admission.Refusal) *corev1.PodCondition {
		return &corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: reason, Message: r.Message, LastTransitionTime: metav1.Now()}
	}
	if r := admission.Resources(pod, n, nil); r != nil {
		return refusal(corev1.PodReasonInfeasible, r)
	}
	if r := admission.Resources(pod, n, a.holders(pod)); r != nil {
		return refusal(corev1.PodReasonDeferred, r)
	}
	return nil
}

// runtimeHandler looks a RuntimeClass up.
func (a *Agent) runtimeHandler(ctx context.Context, class string) (string, error) {
	c, err := a.client.NodeV1().RuntimeClasses().Get(ctx, class, metav1.GetOptions{})
	if err != nil {
		if apierrors.IsNotFound(err) {
			return "", fmt.Errorf("RuntimeClass.node.k8s.io %q not found", class)
		}
		return "", err
	}
	return c.Handler, nil
}
