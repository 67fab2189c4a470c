package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"
)

// resize is one ReplicaSet and the size that it is to have.
type resize struct {
	set  *appsv1.ReplicaSet
	size int32
}

func size(set *appsv1.ReplicaSet) int32 { return ptr.Deref(set.Spec.Replicas, 1) }

func desired(d *appsv1.Deployment) int32 { return ptr.Deref(d.Spec.Replicas, 1) }

func sum(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) (total int32) {
	for _, set := range sets {
		total += of(set)
	}
	return total
}

func available(set *appsv1.ReplicaSet) int32 { return set.Status.AvailableReplicas }

// fences resolves maxSurge (rounded up) and maxUnavailable (rounded down). Both zero would never move: one may then be
// unavailable. The server has validated the values; what cannot be read counts as zero.
func fences(d *appsv1.Deployment) (surge, unavailable int32) {
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || d.Spec.Strategy.RollingUpdate == nil {
		return 0, 0
	}
	rolling := d.Spec.Strategy.RollingUpdate
	zero := intstr.FromInt32(0)
	s, _ := intstr.GetScaledValueFromIntOrPercent(cmp.Or(rolling.MaxSurge, &zero), int(desired(d)), true)
	u, _ := intstr.GetScaledValueFromIntOrPercent(cmp.Or(rolling.MaxUnavailable, &zero), int(desired(d)), false)
	if s == 0 && u == 0 {
		u = 1
	}
	return int32(s), int32(u)
}

func maxSurge(d *appsv1.Deployment) int32 { surge, _ := fences(d); return surge }

func maxUnavailable(d *appsv1.Deployment) int32 {
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || desired(d) == 0 {
		return 0
	}
	_, unavailable := fences(d)
	return min(unavailable, desired(d))
}

// grown is the size that the new ReplicaSet may have now: as much as maxSurge leaves beside the old ones. new may be nil.
func grown(d *appsv1.Deployment, all []*appsv1.ReplicaSet, new *appsv1.ReplicaSet) int32 {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return desired(d)
	}
	has := int32(0)
	if new != nil {
		has = size(new)
	}
	room := desired(d) + maxSurge(d) - sum(all, size)
	if room <= 0 {
		return has
	}
	return has + min(room, desired(d)-has)
}

// roll answers the next step of a rolling update: first let the new set grow (or shrink to what is wanted), then take from
// the old ones what availability allows, what is not healthy first. No steps: there is nothing to do until pods change.
func roll(d *appsv1.Deployment, new *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) []resize {
	all := append(slices.Clone(old), new)
	if size(new) != desired(d) {
		next := desired(d)
		if size(new) < next {
			next = grown(d, all, new)
		}
		if next != size(new) {
			return []resize{{new, next}}
		}
	}
	old = active(old)
	if sum(old, size) == 0 {
		return nil
	}
	minAvailable := desired(d) - maxUnavailable(d)
	may := sum(all, size) - minAvailable - (size(new) - available(new))
	if may <= 0 {
		return nil
	}
	left := make(map[*appsv1.ReplicaSet]int32, len(old))
	oldestFirst(old)
	for _, set := range old {
		take := max(min(may, size(set)-available(set)), 0)
		left[set] = size(set) - take
		may -= take
	}
	spare := sum(all, available) - minAvailable
	for _, set := range old {
		take := max(min(spare, left[set]), 0)
		left[set] -= take
		spare -= take
	}
	var steps []resize
	for _, set := range old {
		if left[set] != size(set) {
			steps = append(steps, resize{set, left[set]})
		}
	}
	return steps
}

// scale answers the sizes after the Deployment itself was resized, in the middle of a roll-out or paused: each set keeps its
// share, so that a bad template that has reached a tenth of the pods still has a tenth of them.
func scale(d *appsv1.Deployment, new *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) []resize {
	var all []*appsv1.ReplicaSet
	all = append(all, old...)
	if new != nil {
		all = append(all, new)
	}
	if only := onlyActive(new, old, all); only != nil {
		return []resize{{only, desired(d)}}
	}
	if saturated(d, new) {
		var steps []resize
		for _, set := range active(old) {
			steps = append(steps, resize{set, 0})
		}
		return steps
	}
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return nil
	}
	all = active(all)
	allowed := int32(0)
	if desired(d) > 0 {
		allowed = desired(d) + maxSurge(d)
	}
	add := allowed - sum(all, size)
	// The biggest set takes what rounding leaves over; among equals the newer one when growing, the older when shrinking.
	slices.SortStableFunc(all, func(a, b *appsv1.ReplicaSet) int {
		if c := cmp.Compare(size(b), size(a)); c != 0 {
			return c
		}
		if add > 0 {
			return compareAge(b, a)
		}
		return compareAge(a, b)
	})
	steps := make([]resize, len(all))
	added := int32(0)
	for i, set := range all {
		share := proportion(d, set, add, added)
		steps[i] = resize{set, size(set) + share}
		added += share
	}
	if len(steps) > 0 && add != 0 {
		steps[0].size = max(steps[0].size+add-added, 0)
	}
	return steps
}

// onlyActive answers the one set that has replicas, or the newest if none has; nil when several have.
func onlyActive(new *appsv1.ReplicaSet, old, all []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	running := active(all)
	switch {
	case len(running) == 1:
		return running[0]
	case len(running) > 1 || len(all) == 0:
		return nil
	case new != nil:
		return new
	}
	return slices.MaxFunc(old, compareAge)
}

// saturated says that the new set has all replicas and they are available: nothing else is needed.
func saturated(d *appsv1.Deployment, new *appsv1.ReplicaSet) bool {
	if new == nil {
		return false
	}
	was, err := strconv.Atoi(new.Annotations[desiredAnnotation])
	return err == nil && int32(was) == desired(d) && size(new) == desired(d) && available(new) == desired(d)
}

// proportion is what set gets of the add replicas, of which added are given away already; both may be negative.
func proportion(d *appsv1.Deployment, set *appsv1.ReplicaSet, add, added int32) int32 {
	if size(set) == 0 || add == 0 || add == added {
		return 0
	}
	share := fraction(d, set)
	if add > 0 {
		return min(share, add-added)
	}
	return max(share, add-added)
}

func fraction(d *appsv1.Deployment, set *appsv1.ReplicaSet) int32 {
	if desired(d) == 0 {
		return -size(set)
	}
	before, err := strconv.ParseInt(set.Annotations[maxAnnotation], 10, 32)
	if err != nil || before == 0 {
		// Somebody has taken the annotation away; the current size is the next best base.
		if before = int64(d.Status.Replicas); before == 0 {
			return 0
		}
	}
	want := float64(size(set)*(desired(d)+maxSurge(d))) / float64(before)
	return int32(math.Round(want)) - size(set)
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var running []*appsv1.ReplicaSet
	for _, set := range sets {
		if set != nil && size(set) > 0 {
			running = append(running, set)
		}
	}
	return running
}

func oldestFirst(sets []*appsv1.ReplicaSet) { slices.SortStableFunc(sets, compareAge) }

func compareAge(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}
