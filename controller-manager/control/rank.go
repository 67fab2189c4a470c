package control

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CheapestFirst sorts pods by how little is lost with each: not assigned, pending, not ready, of lower deletion cost,
// doubled up on a node, ready for a shorter time, restarted more often, younger. neighbours is how many related pods run
// on a node. Times are compared by their order of magnitude, so that of a set made at once the victim is not predictable.
func CheapestFirst(pods []*corev1.Pod, neighbours func(node string) int, now time.Time) {
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			compareBool(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phaseOrder(a), phaseOrder(b)),
			compareBool(Ready(a), Ready(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(neighbours(b.Spec.NodeName), neighbours(a.Spec.NodeName)),
			compareReadyTime(a, b, now),
			compareRestarts(b, a),
			compareAge(a, a.CreationTimestamp, b, b.CreationTimestamp, now),
		)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func phaseOrder(pod *corev1.Pod) int {
	switch pod.Status.Phase {
	case corev1.PodUnknown:
		return 1
	case corev1.PodRunning:
		return 2
	}
	return 0
}

// deletionCost reads the annotation; what is no number counts as none (and is refused by the server anyway).
func deletionCost(pod *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}

func compareReadyTime(a, b *corev1.Pod, now time.Time) int {
	if !Ready(a) || !Ready(b) {
		return 0
	}
	return compareAge(a, Condition(a, corev1.PodReady).LastTransitionTime, b, Condition(b, corev1.PodReady).LastTransitionTime, now)
}

// compareAge puts the younger first, and of those of similar age the one with the smaller UID.
func compareAge(a *corev1.Pod, at metav1.Time, b *corev1.Pod, bt metav1.Time, now time.Time) int {
	if at.Equal(&bt) {
		return 0
	}
	if at.IsZero() || bt.IsZero() {
		return compareBool(!at.IsZero(), !bt.IsZero())
	}
	return cmp.Or(cmp.Compare(magnitude(now.Sub(at.Time)), magnitude(now.Sub(bt.Time))), cmp.Compare(a.UID, b.UID))
}

func magnitude(age time.Duration) int64 {
	if age <= 0 {
		return math.MinInt64
	}
	return int64(math.Log2(float64(age)))
}

// compareRestarts compares the worst container's restarts; side cars decide only between equals.
func compareRestarts(a, b *corev1.Pod) int {
	ar, as := restarts(a)
	br, bs := restarts(b)
	return cmp.Or(cmp.Compare(ar, br), cmp.Compare(as, bs))
}

func restarts(pod *corev1.Pod) (regular, sidecar int32) {
	for _, status := range pod.Status.ContainerStatuses {
		regular = max(regular, status.RestartCount)
	}
	always := map[string]bool{}
	for _, c := range pod.Spec.InitContainers {
		always[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if always[status.Name] {
			sidecar = max(sidecar, status.RestartCount)
		}
	}
	return regular, sidecar
}
