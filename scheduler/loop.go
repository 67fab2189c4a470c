package scheduler

import (
	"context"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/scheduler/filter"
	"github.com/skiff-project/skiff/scheduler/nodes"
	"github.com/skiff-project/skiff/scheduler/queue"
)

// flushEvery is how often pods that nothing has woken are looked at.
const flushEvery = 30 * time.Second

// loop owns the queue, the table and the classes. It returns when ctx ends.
func (s *Scheduler) loop(ctx context.Context) error {
	binders := s.startBinders(ctx)
	defer binders.Wait()
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	var free []message
	for ctx.Err() == nil {
		batch := s.inbox.take(free)
		for i, m := range batch {
			s.handle(m)
			batch[i] = nil
		}
		free = batch
		if it := s.queue.Pop(time.Now()); it != nil {
			s.schedule(ctx, it)
			continue
		}
		if at, ok := s.queue.NextAt(); ok {
			wake.Reset(time.Until(at))
		} else {
			wake.Reset(time.Hour)
		}
		select {
		case <-ctx.Done():
		case <-s.inbox.signal:
		case <-wake.C:
		case now := <-flush.C:
			s.queue.Flush(now)
		}
	}
	return nil
}

func (s *Scheduler) handle(m message) {
	switch m := m.(type) {
	case podSet:
		s.podSet(m.pod)
	case podGone:
		s.podGone(m.pod)
	case nodeSet:
		if change := s.table.SetNode(m.node); change.Any() {
			s.wake(filter.Event{Node: s.table.Node(m.node.Name), Change: change})
		}
	case nodeGone:
		s.table.RemoveNode(m.name)
	case namespaceChanged:
		s.classes.forgetTopology()
		s.wake(filter.Event{Namespace: true})
	case storageChanged:
		s.volumesChanged()
	case bound:
		s.bound(m)
	}
}

// podSet takes in a pod as the API has it.
func (s *Scheduler) podSet(obj *corev1.Pod) {
	if obj.Spec.NodeName != "" {
		s.podPlaced(obj)
		return
	}
	if obj.Spec.SchedulerName != s.Name || s.assumed[obj.UID] {
		return // somebody else's, or an older view of a pod that has its node already
	}
	p := nodes.NewPod(obj)
	if len(obj.Spec.SchedulingGates) > 0 || obj.DeletionTimestamp != nil {
		s.queue.Delete(obj.UID)
		delete(s.nominated, obj.UID)
		return
	}
	s.nominate(p, obj.Status.NominatedNodeName)
	changed := true
	if it := s.queue.Get(obj.UID); it != nil {
		changed = schedulingChanged(it.Pod.Obj, obj)
	}
	s.queue.Add(p, changed, time.Now())
}

// schedulingChanged says whether the new version of a waiting pod may fit where the old one did not. Its status does not
// count: the scheduler writes it itself.
func schedulingChanged(old, obj *corev1.Pod) bool {
	return old.Generation != obj.Generation || !maps.Equal(old.Labels, obj.Labels) || len(old.Spec.SchedulingGates) != len(obj.Spec.SchedulingGates)
}

func (s *Scheduler) podPlaced(obj *corev1.Pod) {
	s.queue.Delete(obj.UID)
	delete(s.nominated, obj.UID)
	delete(s.assumed, obj.UID)
	if obj.Status.Phase == corev1.PodSucceeded || obj.Status.Phase == corev1.PodFailed {
		s.podGone(obj)
		return
	}
	old, node, known := s.table.Pod(obj.UID)
	if known && node == obj.Spec.NodeName && old.Obj.Generation == obj.Generation && maps.Equal(old.Labels, obj.Labels) &&
		(old.Obj.DeletionTimestamp == nil) == (obj.DeletionTimestamp == nil) && !resizes(old.Obj, obj) {
		return // a status update, which is most of what there is
	}
	p := nodes.NewPod(obj)
	s.table.SetPod(p, obj.Spec.NodeName)
	switch {
	case !known:
		s.wake(filter.Event{Came: p})
	case !maps.Equal(old.Labels, obj.Labels):
		s.wake(filter.Event{Relabeled: p})
	default:
		s.wake(filter.Event{Gone: old}) // it may want less than before
	}
}

// resizes says whether what the containers hold (status) may have changed by an in-place resize.
func resizes(old, obj *corev1.Pod) bool {
	if len(old.Status.ContainerStatuses) != len(obj.Status.ContainerStatuses) {
		return true
	}
	for i := range obj.Status.ContainerStatuses {
		a, b := old.Status.ContainerStatuses[i].AllocatedResources, obj.Status.ContainerStatuses[i].AllocatedResources
		if len(a) != len(b) {
			return true
		}
		for name, q := range b {
			if p := a[name]; p.Cmp(q) != 0 {
				return true
			}
		}
	}
	return false
}

func (s *Scheduler) podGone(obj *corev1.Pod) {
	s.queue.Delete(obj.UID)
	delete(s.nominated, obj.UID)
	delete(s.assumed, obj.UID)
	if old, _, known := s.table.Pod(obj.UID); known {
		s.table.RemovePod(obj.UID)
		s.wake(filter.Event{Gone: old})
	}
}

func (s *Scheduler) volumesChanged() {
	// Verdicts about volumes are kept per node and know nothing of claims: those of pods with claims are made again.
	for key, k := range s.classes.byKey {
		if len(k.pod.Claims) > 0 {
			delete(s.classes.byKey, key)
		}
	}
	s.wake(filter.Event{Storage: true})
}

// wake lets the parked pods try again that a change could help.
func (s *Scheduler) wake(e filter.Event) {
	s.queue.Wake(func(it *queue.Item) bool { return s.couldHelp(it, e) }, time.Now())
}

func (s *Scheduler) couldHelp(it *queue.Item, e filter.Event) bool {
	if len(it.Rejected) == 0 {
		return e.Node != nil && e.Change.Added
	}
	for i := range s.rules {
		if r := &s.rules[i]; it.Rejected[r.Name] && r.WokenBy(it.Pod, e) {
			return true
		}
	}
	return it.Rejected["InterPodAffinity"] && filter.InterPodAffinityWokenBy(it.Pod, e) ||
		it.Rejected["PodTopologySpread"] && filter.SpreadWokenBy(it.Pod, e)
}

// schedule makes one attempt for one pod.
func (s *Scheduler) schedule(ctx context.Context, it *queue.Item) {
	p := it.Pod
	n, no := s.decide(p)
	if n == nil {
		s.refused(ctx, it, no)
		return
	}
	s.table.SetPod(p, n.Name)
	s.assumed[p.UID()] = true
	delete(s.nominated, p.UID())
	s.queue.Delete(p.UID())
	select {
	case s.bindings <- binding{p, n.Name, s.volumes.Unbound(p)}:
	case <-ctx.Done():
	}
}

// bound hears how a binding went.
func (s *Scheduler) bound(m bound) {
	if m.err == nil {
		s.stats.scheduled.Add(1)
		return
	}
	s.stats.failed.Add(1)
	uid := m.pod.UID()
	if !s.assumed[uid] {
		return // deleted or placed by somebody else meanwhile; the informer has told
	}
	delete(s.assumed, uid)
	s.table.RemovePod(uid)
	s.wake(filter.Event{Gone: m.pod})
	s.queue.Retry(m.pod, time.Now())
}
