package preempt

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// Room is one way to make room: the pods that leave a node.
type Room struct {
	Node    *nodes.Node
	Victims []*nodes.Pod // most important first
	// Violations is how many of them a disruption budget would have kept.
	Violations int
}

// Eligible says whether the pod may preempt at all; why is upstream's sentence if not.
func Eligible(p *nodes.Pod, nominated *nodes.Node) (ok bool, why string) {
	if policy := p.Obj.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		return false, "not eligible due to preemptionPolicy=Never."
	}
	if nominated != nil {
		for _, q := range nominated.Pods {
			if q.Priority < p.Priority && q.Obj.DeletionTimestamp != nil {
				return false, "not eligible due to a terminating pod on the nominated node."
			}
		}
	}
	return true, ""
}

// On finds the victims on one node, or returns nil if even without all less important pods the pod would not fit.
// lift and put take a pod off the node and put it back; fits asks all rules. The node is left as it was.
func On(p *nodes.Pod, n *nodes.Node, budgets []*policyv1.PodDisruptionBudget, lift, put func(*nodes.Pod), fits func() bool) *Room {
	var lower []*nodes.Pod
	for _, q := range n.Pods {
		if q.Priority < p.Priority {
			lower = append(lower, q)
		}
	}
	if len(lower) == 0 {
		return nil
	}
	for _, q := range lower {
		lift(q)
	}
	gone := lower
	defer func() {
		for _, q := range gone {
			put(q)
		}
	}()
	if !fits() {
		return nil
	}
	slices.SortFunc(lower, moreImportant)
	violating, others := splitByBudget(lower, budgets)
	room := &Room{Node: n}
	stay := func(list []*nodes.Pod, violates bool) {
		for _, q := range list {
			put(q)
			gone = slices.DeleteFunc(slices.Clone(gone), func(g *nodes.Pod) bool { return g == q })
			if fits() {
				continue
			}
			lift(q)
			gone = append(gone, q)
			room.Victims = append(room.Victims, q)
			if violates {
				room.Violations++
			}
		}
	}
	stay(violating, true)
	stay(others, false)
	slices.SortFunc(room.Victims, moreImportant)
	return room
}

func moreImportant(a, b *nodes.Pod) int {
	if a.Priority != b.Priority {
		return int(b.Priority) - int(a.Priority)
	}
	return started(a).Compare(started(b))
}

func started(p *nodes.Pod) time.Time {
	if t := p.Obj.Status.StartTime; t != nil {
		return t.Time
	}
	return p.Obj.CreationTimestamp.Time
}

// splitByBudget parts the pods whose removal would break a budget from the others.
func splitByBudget(pods []*nodes.Pod, budgets []*policyv1.PodDisruptionBudget) (violating, others []*nodes.Pod) {
	type budget struct {
		selector  labels.Selector
		namespace string
		left      int32
		disrupted map[string]metav1.Time
	}
	var list []budget
	for _, b := range budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || selector.Empty() {
			continue // upstream: such a budget protects nothing here
		}
		list = append(list, budget{selector, b.Namespace, b.Status.DisruptionsAllowed, b.Status.DisruptedPods})
	}
	for _, q := range pods {
		violates := false
		for i := range list {
			b := &list[i]
			if b.namespace != q.Key.Namespace || len(q.Labels) == 0 || !b.selector.Matches(q.Labels) {
				continue
			}
			if _, counted := b.disrupted[q.Key.Name]; counted {
				continue
			}
			b.left--
			violates = violates || b.left < 0
		}
		if violates {
			violating = append(violating, q)
		} else {
			others = append(others, q)
		}
	}
	return violating, others
}

// Best chooses where the victims hurt least; nil for no rooms.
func Best(rooms []*Room) *Room {
	if len(rooms) == 0 {
		return nil
	}
	return slices.MinFunc(rooms, func(a, b *Room) int {
		for _, by := range []func(*Room) int64{violations, highest, sum, number, latest} {
			if x, y := by(a), by(b); x != y {
				if x < y {
					return -1
				}
				return 1
			}
		}
		return 0
	})
}

func violations(r *Room) int64 { return int64(r.Violations) }
func number(r *Room) int64     { return int64(len(r.Victims)) }

func highest(r *Room) int64 {
	if len(r.Victims) == 0 {
		return -1 << 40
	}
	return int64(r.Victims[0].Priority)
}

// sum lifts priorities above zero first, so that more victims never count as less.
func sum(r *Room) int64 {
	var total int64
	for _, q := range r.Victims {
		total += int64(q.Priority) + 1<<31
	}
	return total
}

// latest is smaller the later the earliest-started of the most important victims has started.
func latest(r *Room) int64 {
	var earliest time.Time
	for i, q := range r.Victims {
		if q.Priority != r.Victims[0].Priority {
			break
		}
		if t := started(q); i == 0 || t.Before(earliest) {
			earliest = t
		}
	}
	return -earliest.UnixNano()
}
