package statefulset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// state is a set and its pods at one moment.
type state struct {
	set             *appsv1.StatefulSet
	pods            []*corev1.Pod
	current, update string // names of the revisions
	now             time.Time
}

// deed is one thing to do with a pod.
type deed int

const (
	create   deed = iota // number says which
	remove               // it has ended, is one too many, or has an old template
	identity             // it lacks a label, a volume or a claim
)

type step struct {
	deed   deed
	pod    *corev1.Pod // nil for create
	number int
}

// plan answers what is to be done now. In order, that is at most one creation or deletion, and none before all pods up to
// it are well; in parallel mode it is everything at once, but for updates, which never take more than maxUnavailable away.
func (s state) plan() []step {
	ordered := s.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
	slots, surplus := s.slots()
	var steps []step
	for i, pod := range slots {
		number := first(s.set) + i
		switch {
		case pod == nil:
			steps = append(steps, step{create, nil, number})
		case control.Ended(pod):
			if pod.DeletionTimestamp == nil {
				steps = append(steps, step{remove, pod, number})
			}
		default:
			steps = append(steps, step{identity, pod, number})
			if !ordered || s.well(pod) {
				continue
			}
		}
		if ordered {
			return steps
		}
	}
	firstBad := s.firstUnwell(slots, surplus)
	for _, pod := range surplus {
		_, number := ordinal(pod)
		if pod.DeletionTimestamp != nil {
			if ordered {
				return steps
			}
			continue
		}
		if ordered && !s.available(pod) && pod != firstBad {
			return steps // a pod that is not well is not the next to go unless it is the one in the way
		}
		steps = append(steps, step{remove, pod, number})
		if ordered {
			return steps
		}
	}
	return append(steps, s.updates(slots)...)
}

// slots answers the pods in range by number, nil where there is none, and those out of range, highest number first.
func (s state) slots() (slots, surplus []*corev1.Pod) {
	slots = make([]*corev1.Pod, replicas(s.set))
	for _, pod := range s.pods {
		if _, n := ordinal(pod); inRange(s.set, n) {
			slots[n-first(s.set)] = pod
		} else if n >= 0 {
			surplus = append(surplus, pod)
		}
	}
	slices.SortFunc(surplus, func(a, b *corev1.Pod) int {
		_, x := ordinal(a)
		_, y := ordinal(b)
		return y - x
	})
	return slots, surplus
}

func (s state) available(pod *corev1.Pod) bool {
	available, _ := control.Available(pod, s.set.Spec.MinReadySeconds, s.now)
	return available && pod.Status.Phase == corev1.PodRunning
}

// well says that a pod does its work and is to stay.
func (s state) well(pod *corev1.Pod) bool {
	return pod != nil && pod.DeletionTimestamp == nil && s.available(pod)
}

func (s state) firstUnwell(slots, surplus []*corev1.Pod) *corev1.Pod {
	for _, pod := range slots {
		if !s.well(pod) {
			return pod
		}
	}
	for _, pod := range slices.Backward(surplus) {
		if !s.well(pod) {
			return pod
		}
	}
	return nil
}

// updates answers the pods to be deleted so that they come back with the new template: from the highest number down to the
// partition, as many as may be missing. In parallel mode those that are not well go first and cost nothing.
func (s state) updates(slots []*corev1.Pod) []step {
	if s.set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateStatefulSetStrategyType || s.current == s.update && !s.anyOld(slots) {
		return nil
	}
	partition, may := 0, 1
	if rolling := s.set.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		partition = int(ptr.Deref(rolling.Partition, 0))
		if rolling.MaxUnavailable != nil {
			n, _ := intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, replicas(s.set), false)
			may = max(n, 1)
		}
	}
	for _, pod := range slots {
		if !s.well(pod) {
			may--
		}
	}
	parallel := s.set.Spec.PodManagementPolicy == appsv1.ParallelPodManagement
	var steps []step
	for i, pod := range slices.Backward(slots) {
		number := first(s.set) + i
		if i < partition {
			break
		}
		if pod == nil || pod.DeletionTimestamp != nil || revisionOf(pod) == s.update {
			continue
		}
		switch {
		case parallel && !s.well(pod):
			steps = append(steps, step{remove, pod, number})
		case may > 0:
			steps = append(steps, step{remove, pod, number})
			may--
		}
	}
	return steps
}

func (s state) anyOld(slots []*corev1.Pod) bool {
	return slices.ContainsFunc(slots, func(pod *corev1.Pod) bool { return pod != nil && revisionOf(pod) != s.update })
}

func revisionOf(pod *corev1.Pod) string { return pod.Labels[appsv1.StatefulSetRevisionLabel] }

// startsOld says that the pod of that number is still to be made from the old template.
func (s state) startsOld(number int) bool {
	strategy := s.set.Spec.UpdateStrategy
	if strategy.Type != appsv1.RollingUpdateStatefulSetStrategyType {
		return false
	}
	if strategy.RollingUpdate == nil {
		return number < first(s.set)+int(s.set.Status.CurrentReplicas)
	}
	return number < first(s.set)+int(ptr.Deref(strategy.RollingUpdate.Partition, 0))
}

// status counts the pods.
func (s state) status(collisions int32) appsv1.StatefulSetStatus {
	status := appsv1.StatefulSetStatus{
		ObservedGeneration: s.set.Generation, CurrentRevision: s.current, UpdateRevision: s.update,
		CollisionCount: &collisions, Conditions: s.set.Status.Conditions,
	}
	for _, pod := range s.pods {
		status.Replicas++
		if pod.Status.Phase == corev1.PodRunning && control.Ready(pod) {
			status.ReadyReplicas++
			if s.available(pod) {
				status.AvailableReplicas++
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if revisionOf(pod) == s.current {
			status.CurrentReplicas++
		}
		if revisionOf(pod) == s.update {
			status.UpdatedReplicas++
		}
	}
	n := int32(replicas(s.set))
	if status.UpdatedReplicas == n && status.ReadyReplicas == n && status.Replicas == n {
		status.CurrentReplicas, status.CurrentRevision = status.UpdatedReplicas, status.UpdateRevision
	}
	return status
}
