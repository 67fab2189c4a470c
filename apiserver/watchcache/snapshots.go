package watchcache

import (
	"sync"
	"time"
)

// snapshots are the states at which lists were begun that clients may go on with. What a state shares with the current
// one costs nothing; the rest is bounded by number and age.
type snapshots struct {
	mu   sync.Mutex
	kept []snapshot // oldest revision first
}

type snapshot struct {
	revision int64
	state    *state
	at       time.Time
}

const (
	snapshotsMost = 50
	snapshotAge   = 5 * time.Minute
)

func (s *snapshots) keep(revision int64, st *state, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.kept) - 1; i >= 0 && s.kept[i].revision >= revision; i-- {
		if s.kept[i].revision == revision {
			s.kept[i].at = now
			return
		}
	}
	i := len(s.kept)
	for i > 0 && s.kept[i-1].revision > revision {
		i--
	}
	s.kept = append(s.kept, snapshot{})
	copy(s.kept[i+1:], s.kept[i:])
	s.kept[i] = snapshot{revision, st, now}
	if len(s.kept) > snapshotsMost {
		s.kept = append([]snapshot(nil), s.kept[1:]...)
	}
}

// find is the state at a revision, or nil. A state kept at a later revision is right if nothing changed between.
func (s *snapshots) find(revision int64) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		if k.revision >= revision && k.state.revision <= revision {
			return k.state
		}
	}
	return nil
}

// expire drops what is old, or of a revision before compacted.
func (s *snapshots) expire(now time.Time, compacted int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []snapshot
	for _, k := range s.kept {
		if now.Sub(k.at) <= snapshotAge && k.revision >= compacted {
			left = append(left, k)
		}
	}
	s.kept = left
}

func (s *snapshots) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = nil
}

// rewindMost is how many events are taken back to find a past state; beyond, etcd is asked.
const rewindMost = 20_000

// stateAt is the state at the exact revision of a query, which fresh has made sure is not in the future of this server
// unless it is of everybody's. It answers nil for one that only etcd may know.
func (c *Cache) stateAt(q *query) (*state, error) {
	// What etcd has compacted is gone here too, though it may still be at hand: two servers must not differ in that, and a
	// client that pages for ever must learn at some time that its list is of long ago.
	if q.exact < c.hub.cfg.Store.Compacted() {
		return nil, expired(q)
	}
	s, reached := c.view()
	switch {
	case q.exact > reached:
		return nil, tooLarge(q.exact, reached)
	case q.exact >= s.revision:
		return s, nil
	}
	if s := c.snapshots.find(q.exact); s != nil {
		return s, nil
	}
	if s := c.rewind(q.exact); s != nil {
		c.snapshots.keep(q.exact, s, c.hub.now())
		return s, nil
	}
	return nil, nil
}

// rewind takes back the events after a revision from the current state; nil if the ring does not reach so far.
func (c *Cache) rewind(revision int64) *state {
	c.mu.RLock()
	if revision < c.ring.since {
		c.mu.RUnlock()
		return nil
	}
	number := c.ring.after(revision)
	if c.ring.next-number > rewindMost {
		c.mu.RUnlock()
		return nil
	}
	s := c.state.Load().copy()
	events := make([]*event, 0, c.ring.next-number)
	for ; number < c.ring.next; number++ {
		events = append(events, c.ring.at(number))
	}
	c.mu.RUnlock()
	for i := len(events) - 1; i >= 0; i-- {
		if e := events[i]; e.before == nil {
			c.unset(s, e.object)
		} else {
			c.set(s, e.object, e.before)
		}
	}
	// No event lies between, so any revision from the one asked for up to the first event's is right; this one is.
	s.revision = revision
	return s
}
