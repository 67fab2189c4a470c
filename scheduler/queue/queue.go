package queue

import (
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// Back-off and flush times, upstream's defaults (podInitialBackoffSeconds, podMaxBackoffSeconds, and the interval after
// which an unschedulable pod is tried again whatever happened).
const (
	InitialBackoff = time.Second
	MaxBackoff     = 10 * time.Second
	FlushAfter     = 5 * time.Minute
)

// Item is a pod that waits.
type Item struct {
	Pod *nodes.Pod
	// Attempts is how often the pod was tried in vain.
	Attempts int
	// Since is when the pod entered the queue for the first time.
	Since time.Time
	// Rejected names the rules that refused nodes at the last attempt.
	Rejected map[string]bool

	state  state
	index  int       // in its heap
	parked time.Time // when it was parked
	ready  time.Time // when its back-off ends
}

type state int

const (
	active state = iota
	backingOff
	parked
	taken
)

// Queue holds the waiting pods.
type Queue struct {
	items   map[types.UID]*Item
	active  items
	backoff items
}

// New returns an empty queue.
func New() *Queue {
	q := &Queue{items: map[types.UID]*Item{}}
	q.active.before = func(a, b *Item) bool {
		if a.Pod.Priority != b.Pod.Priority {
			return a.Pod.Priority > b.Pod.Priority
		}
		return a.Since.Before(b.Since)
	}
	q.backoff.before = func(a, b *Item) bool { return a.ready.Before(b.ready) }
	return q
}

// Add puts a new pod in line, or takes in a new version of one that is known. changed says that the new version may fit
// where the old one did not.
func (q *Queue) Add(p *nodes.Pod, changed bool, now time.Time) {
	it := q.items[p.UID()]
	if it == nil {
		it = &Item{Pod: p, Since: now}
		q.items[p.UID()] = it
		q.activate(it)
		return
	}
	it.Pod = p
	switch it.state {
	case active:
		heap.Fix(&q.active, it.index)
	case parked:
		if changed {
			q.wake(it, now)
		}
	}
}

// Delete forgets a pod.
func (q *Queue) Delete(uid types.UID) {
	it := q.items[uid]
	if it == nil {
		return
	}
	q.leave(it)
	delete(q.items, uid)
}

// Pop takes the pod whose turn it is, or returns nil. The pod stays known until Done, Park or Delete.
func (q *Queue) Pop(now time.Time) *Item {
	for q.backoff.Len() > 0 && !q.backoff.list[0].ready.After(now) {
		it := q.backoff.list[0]
		q.leave(it)
		q.activate(it)
	}
	if q.active.Len() == 0 {
		return nil
	}
	it := q.active.list[0]
	q.leave(it)
	it.state = taken
	return it
}

// Park puts a pod that fitted nowhere aside until Wake.
func (q *Queue) Park(it *Item, rejected map[string]bool, now time.Time) {
	if q.items[it.Pod.UID()] != it {
		return // deleted meanwhile
	}
	it.Attempts++
	it.Rejected, it.parked, it.ready = rejected, now, now.Add(Backoff(it.Attempts))
	it.state = parked
}

// Retry puts a pod whose attempt failed for a reason of ours (a refused binding) in line again after its back-off.
func (q *Queue) Retry(p *nodes.Pod, now time.Time) {
	it := q.items[p.UID()]
	if it == nil {
		it = &Item{Since: now}
		q.items[p.UID()] = it
	} else {
		q.leave(it)
	}
	it.Pod = p
	it.Attempts++
	it.ready = now.Add(Backoff(it.Attempts))
	q.back(it)
}

// Wake lets every parked pod try again for which could says that the change might help, after what is left of its
// back-off.
func (q *Queue) Wake(could func(*Item) bool, now time.Time) {
	for _, it := range q.items {
		if it.state == parked && could(it) {
			q.wake(it, now)
		}
	}
}

// Flush wakes the pods that have been parked for FlushAfter.
func (q *Queue) Flush(now time.Time) {
	q.Wake(func(it *Item) bool { return now.Sub(it.parked) >= FlushAfter }, now)
}

// NextAt is when the next back-off ends; ok is false if none runs.
func (q *Queue) NextAt() (at time.Time, ok bool) {
	if q.backoff.Len() == 0 {
		return time.Time{}, false
	}
	return q.backoff.list[0].ready, true
}

// Lengths are the numbers of pods by state, for metrics.
func (q *Queue) Lengths() (activePods, backoffPods, parkedPods int) {
	for _, it := range q.items {
		if it.state == parked {
			parkedPods++
		}
	}
	return q.active.Len(), q.backoff.Len(), parkedPods
}

// Get finds a waiting pod.
func (q *Queue) Get(uid types.UID) *Item { return q.items[uid] }

func (q *Queue) wake(it *Item, now time.Time) {
	if it.ready.After(now) {
		q.back(it)
	} else {
		q.activate(it)
	}
}

func (q *Queue) activate(it *Item) {
	it.state = active
	heap.Push(&q.active, it)
}

func (q *Queue) back(it *Item) {
	it.state = backingOff
	heap.Push(&q.backoff, it)
}

func (q *Queue) leave(it *Item) {
	switch it.state {
	case active:
		heap.Remove(&q.active, it.index)
	case backingOff:
		heap.Remove(&q.backoff, it.index)
	}
	it.state = taken
}

// Backoff is the time a pod waits after so many attempts in vain: a second, doubling, ten at most.
func Backoff(attempts int) time.Duration {
	d := InitialBackoff
	for range attempts - 1 {
		if d *= 2; d >= MaxBackoff {
			return MaxBackoff
		}
	}
	return d
}

// items is a heap that knows where each item is.
type items struct {
	list   []*Item
	before func(a, b *Item) bool
}

func (h *items) Len() int           { return len(h.list) }
func (h *items) Less(i, j int) bool { return h.before(h.list[i], h.list[j]) }
func (h *items) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].index, h.list[j].index = i, j
}
func (h *items) Push(x any) {
	it := x.(*Item)
	it.index = len(h.list)
	h.list = append(h.list, it)
}
func (h *items) Pop() any {
	last := len(h.list) - 1
	it := h.list[last]
	h.list[last] = nil
	h.list = h.list[:last]
	return it
}
