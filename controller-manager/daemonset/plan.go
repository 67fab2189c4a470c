package daemonset

import (
	"cmp"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// state is a set, the nodes and its pods at one moment.
type state struct {
	set    *appsv1.DaemonSet
	nodes  []*corev1.Node
	byNode map[string][]*corev1.Pod // oldest first
	fit    fit
	hash   string // of the present template
	now    time.Time
}

func newState(set *appsv1.DaemonSet, nodes []*corev1.Node, pods []*corev1.Pod, hash string, now time.Time) state {
	s := state{set: set, nodes: nodes, byNode: map[string][]*corev1.Pod{}, fit: newFit(set), hash: hash, now: now}
	for _, pod := range pods {
		node := nodeOf(pod)
		s.byNode[node] = append(s.byNode[node], pod)
	}
	for _, on := range s.byNode {
		// A bound pod is older than one that still waits for the scheduler.
		slices.SortStableFunc(on, func(a, b *corev1.Pod) int {
			unbound := func(p *corev1.Pod) int {
				if p.Spec.NodeName == "" {
					return 1
				}
				return 0
			}
			return cmp.Or(cmp.Compare(unbound(a), unbound(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
	}
	return s
}

// steps is what is to be done: nodes that need a pod, and pods that must go.
type steps struct {
	create []string
	remove []*corev1.Pod
}

func (s state) available(pod *corev1.Pod) bool {
	available, _ := control.Available(pod, s.set.Spec.MinReadySeconds, s.now)
	return available
}

// present makes sure that each node has the pods that it should, whatever their template. ended are pods that have
// failed or succeeded; which of them may be replaced now is for the caller to say.
func (s state) present() (do steps, ended []*corev1.Pod) {
	surge, _ := s.fences()
	known := map[string]bool{}
	for _, node := range s.nodes {
		known[node.Name] = true
		start, stay := s.fit.on(node)
		pods := s.byNode[node.Name]
		switch {
		case start && len(pods) == 0:
			do.create = append(do.create, node.Name)
		case stay:
			running := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil || control.Ended(p) })
			for _, pod := range pods {
				if pod.DeletionTimestamp == nil && control.Ended(pod) {
					ended = append(ended, pod)
				}
			}
			switch {
			case surge == 0 && len(running) > 1:
				do.remove = append(do.remove, running[1:]...)
			case surge > 0 && len(running) == 0 && start && !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp == nil }):
				do.create = append(do.create, node.Name)
			case surge > 0 && len(running) > 1:
				do.remove = append(do.remove, s.excess(running)...)
			}
		default:
			for _, pod := range pods {
				if pod.DeletionTimestamp == nil {
					do.remove = append(do.remove, pod)
				}
			}
		}
	}
	// A pod made for a node that has gone would wait for the scheduler for ever.
	for _, name := range slices.Sorted(maps.Keys(s.byNode)) {
		for _, pod := range s.byNode[name] {
			if !known[name] && pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
				do.remove = append(do.remove, pod)
			}
		}
	}
	return do, ended
}

// excess answers which of several pods on a node go while surging: one old and one new may run side by side until the new
// one is available.
func (s state) excess(running []*corev1.Pod) []*corev1.Pod {
	var old, new *corev1.Pod
	var remove []*corev1.Pod
	for _, pod := range running {
		switch isNew := pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == s.hash; {
		case isNew && new == nil:
			new = pod
		case !isNew && old == nil:
			old = pod
		default:
			remove = append(remove, pod)
		}
	}
	if old != nil && new != nil && (!control.Ready(old) || s.available(new)) {
		remove = append(remove, old)
	}
	return remove
}

// desired is how many nodes should have a pod.
func (s state) desired() int {
	n := 0
	for _, node := range s.nodes {
		if start, _ := s.fit.on(node); start {
			n++
		}
	}
	return n
}

// fences answers by how many pods a roll-out may go over and under. Both zero would never move.
func (s state) fences() (surge, unavailable int) {
	rolling := s.set.Spec.UpdateStrategy.RollingUpdate
	if s.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || rolling == nil {
		return 0, 0
	}
	desired := s.desired()
	if rolling.MaxSurge != nil {
		surge, _ = intstr.GetScaledValueFromIntOrPercent(rolling.MaxSurge, desired, true)
	}
	if rolling.MaxUnavailable != nil {
		unavailable, _ = intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, desired, true)
	}
	if desired > 0 && surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// pair answers the old and the new pod of a node; false if there are several of a sort, which present puts right first.
func (s state) pair(pods []*corev1.Pod) (old, new *corev1.Pod, ok bool) {
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		which := &old
		if updated(s.set, pod, s.hash) {
			which = &new
		}
		if *which != nil {
			return nil, nil, false
		}
		*which = pod
	}
	return old, new, true
}

// roll answers the next step of a rolling update.
func (s state) roll() steps {
	surge, unavailable := s.fences()
	if surge > 0 {
		return s.rollWithSurge(surge)
	}
	var do steps
	var candidates []*corev1.Pod
	for _, node := range slices.Sorted(maps.Keys(s.byNode)) {
		old, new, ok := s.pair(s.byNode[node])
		switch {
		case !ok, old == nil && new == nil, old != nil && new != nil:
			unavailable-- // something is going on there
		case new != nil:
			if !s.available(new) {
				unavailable--
			}
		case !s.available(old):
			do.remove = append(do.remove, old) // costs nothing
			unavailable--
		default:
			candidates = append(candidates, old)
		}
	}
	do.remove = append(do.remove, candidates[:max(min(unavailable, len(candidates)), 0)]...)
	return do
}

func (s state) rollWithSurge(surge int) steps {
	nodes := map[string]*corev1.Node{}
	for _, node := range s.nodes {
		nodes[node.Name] = node
	}
	var do steps
	var candidates []string
	var misplaced []*corev1.Pod
	available := 0
	for _, name := range slices.Sorted(maps.Keys(s.byNode)) {
		old, new, ok := s.pair(s.byNode[name])
		if !ok {
			surge--
			continue
		}
		if any := cmp.Or(old, new); any != nil && s.available(any) {
			available++
		}
		if old == nil {
			continue
		}
		if new != nil {
			if s.available(new) {
				do.remove = append(do.remove, old)
			} else {
				surge--
			}
			continue
		}
		start := false
		if node := nodes[name]; node != nil {
			start, _ = s.fit.on(node)
		}
		switch {
		case !s.available(old) && !start:
			do.remove = append(do.remove, old)
		case !s.available(old):
			do.create = append(do.create, name)
		case !start:
			misplaced = append(misplaced, old)
		default:
			candidates = append(candidates, name)
		}
	}
	spare := available - s.desired()
	do.remove = append(do.remove, misplaced[:max(min(spare, len(misplaced)), 0)]...)
	do.create = append(do.create, candidates[:max(min(surge, len(candidates)), 0)]...)
	return do
}

// status counts.
func (s state) status(collisions *int32) appsv1.DaemonSetStatus {
	status := appsv1.DaemonSetStatus{ObservedGeneration: s.set.Generation, CollisionCount: collisions, Conditions: s.set.Status.Conditions}
	for _, node := range s.nodes {
		pods := s.byNode[node.Name]
		start, _ := s.fit.on(node)
		if !start {
			if len(pods) > 0 {
				status.NumberMisscheduled++
			}
			continue
		}
		status.DesiredNumberScheduled++
		if len(pods) == 0 {
			continue
		}
		status.CurrentNumberScheduled++
		if control.Ready(pods[0]) {
			status.NumberReady++
			if s.available(pods[0]) {
				status.NumberAvailable++
			}
		}
		if updated(s.set, pods[0], s.hash) {
			status.UpdatedNumberScheduled++
		}
	}
	status.NumberUnavailable = status.DesiredNumberScheduled - status.NumberAvailable
	return status
}
