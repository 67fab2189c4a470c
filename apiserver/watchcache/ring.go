package watchcache

import (
	"sort"
	"sync/atomic"
	"time"
)

// Bounds of a ring. Within them it keeps what is younger than ringAge, as upstream does, and a few events however old, so
// that a watch of a quiet kind can be taken up again after minutes. A kind whose objects take more than ringBytes may have a
// ring of half their size: the larger a cluster, the more happens in a second.
const (
	ringLeast = 100
	ringMost  = 100_000
	ringAge   = 75 * time.Second
	ringBytes = 8 << 20
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

// cost is an estimate of the memory that an event holds on to: the object before, which nothing else refers to any more.
// Its encodings do not last (see Cache.retire).
func (e *event) cost() int {
	if e.before == nil {
		return 256
	}
	return 768 + len(e.before.stored)
}

// ring holds the latest events of a kind. The events are numbered; a number is never used twice. Guarded by Cache.mu.
type ring struct {
	events []*event // circular; its length is a power of two
	first  int64    // the number of the oldest event held
	next   int64    // the number that the next event gets
	bytes  int
	// since is the revision after which no event is missing.
	since int64
	// most and budget are ringMost and ringBytes, smaller in tests. live is the size of the current objects.
	most, budget int
	live         int
	// retired is the number of the first event whose object before may still have encodings.
	retired int64
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
	if e.object != nil {
		r.live += len(e.object.stored)
	}
	if e.before != nil {
		r.live -= len(e.before.stored)
	}
	budget := max(r.budget, r.live/2)
	for r.len() > r.most || r.bytes > budget && r.len() > 1 {
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

// past are the events that happened before a time and were not asked for before.
func (r *ring) past(before time.Time) []*event {
	var all []*event
	for r.retired = max(r.retired, r.first); r.retired < r.next; r.retired++ {
		e := r.at(r.retired)
		if e.at.After(before) {
			break
		}
		all = append(all, e)
	}
	return all
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
