package watchcache

import (
	"sort"
	"sync/atomic"
	"time"
)

// Bounds of a ring. Within them it keeps what is younger than ringAge, and a few events however old, so that a watch of
// a quiet kind can be taken up again after minutes.
const (
	ringLeast = 100
	ringMost  = 100_000
	ringAge   = 3 * time.Minute
	ringBytes = 32 << 20
)

// event is one change of one object, as the ring keeps it.
type event struct {
	revision int64
	at       time.Time
	// before and object are the object before and after; nil before a creation and after a deletion.
	before, object *Object
	// ghost is before with the event's revision, for those who are told DELETED. It is made on first demand.
	ghost atomic.Pointer[Object]
}

func (e *event) gone() *Object {
	if g := e.ghost.Load(); g != nil {
		return g
	}
	// Of two made at once the first wins, so that its bytes are shared.
	e.ghost.CompareAndSwap(nil, e.before.as(e.revision))
	return e.ghost.Load()
}

// cost is an estimate of the memory that an event holds on to: the object before and its encodings, which nothing else
// refers to any more.
func (e *event) cost() int {
	if e.before == nil {
		return 256
	}
	return 512 + 3*len(e.before.stored)
}

// ring holds the latest events of a kind. The events are numbered; a number is never used twice. Guarded by Cache.mu.
type ring struct {
	events []*event // circular; its length is a power of two
	first  int64    // the number of the oldest event held
	next   int64    // the number that the next event gets
	bytes  int
	// since is the revision after which no event is missing.
	since int64
	// most and budget are ringMost and ringBytes, smaller in tests.
	most, budget int
	// dropped is told the number of each event that goes.
	dropped func(number int64, e *event)
}

func (r *ring) len() int { return int(r.next - r.first) }

func (r *ring) at(number int64) *event { return r.events[number&int64(len(r.events)-1)] }

func (r *ring) push(e *event) int64 {
	if r.len() == len(r.events) {
		grown := make([]*event, max(64, 2*len(r.events)))
		for n := r.first; n < r.next; n++ {
			grown[n&int64(len(grown)-1)] = r.at(n)
		}
		r.events = grown
	}
	number := r.next
	r.events[number&int64(len(r.events)-1)] = e
	r.next++
	r.bytes += e.cost()
	for r.len() > r.most || r.bytes > r.budget && r.len() > 1 {
		r.drop()
	}
	return number
}

// expire drops what is old, and shrinks the ring when little is left.
func (r *ring) expire(now time.Time) {
	for r.len() > ringLeast && now.Sub(r.at(r.first).at) > ringAge {
		r.drop()
	}
	if len(r.events) > 256 && r.len() < len(r.events)/4 {
		shrunk := make([]*event, len(r.events)/2)
		for n := r.first; n < r.next; n++ {
			shrunk[n&int64(len(shrunk)-1)] = r.at(n)
		}
		r.events = shrunk
	}
}

func (r *ring) drop() {
	slot := r.first & int64(len(r.events)-1)
	e := r.events[slot]
	r.events[slot] = nil
	r.bytes -= e.cost()
	r.since = e.revision
	r.dropped(r.first, e)
	r.first++
}

// clear forgets everything up to a revision.
func (r *ring) clear(since int64) {
	for r.len() > 0 {
		r.drop()
	}
	r.since = since
}

// after is the number of the first event after a revision.
func (r *ring) after(revision int64) int64 {
	return r.first + int64(sort.Search(r.len(), func(i int) bool { return r.at(r.first+int64(i)).revision > revision }))
}

func (r *ring) all() []*event {
	all := make([]*event, 0, r.len())
	for n := r.first; n < r.next; n++ {
		all = append(all, r.at(n))
	}
	return all
}
