package watchcache

import "slices"

// scopeKey names a part of a kind's objects whose changes are kept apart, for those who watch only that part.
type scopeKey struct {
	by               int // an index into Resource.Indexed, or one of the following
	namespace, value string
}

const (
	byName      = -1 // value is a name; namespace may be empty for all
	byNamespace = -2
	everything  = -3
)

// scope is the events of one part, as numbers in the ring, while somebody watches it. A watcher of a scope looks at
// nothing else: a thousand node agents that watch their own pods cost one lookup a change, not a thousand.
// Guarded by Cache.mu but for wake, see Cache.wait.
type scope struct {
	key      scopeKey
	watchers int
	// numbers are the scope's events; base counts those dropped before. A watcher's place is base plus an index. The scope
	// everything keeps none: its places are the ring's own numbers.
	numbers []int64
	base    int64
	// since is the revision of the last event dropped.
	since int64
	// wake is closed at the next event; nil while nobody sleeps.
	wake chan struct{}
}

func (s *scope) signal() {
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
}

// end is the place after the last event.
func (s *scope) end(r *ring) int64 {
	if s.key.by == everything {
		return r.next
	}
	return s.base + int64(len(s.numbers))
}

// begin is the place of the first event still there.
func (s *scope) begin(r *ring) int64 {
	if s.key.by == everything {
		return r.first
	}
	return s.base
}

// event is the one at a place.
func (s *scope) event(r *ring, place int64) *event {
	if s.key.by == everything {
		return r.at(place)
	}
	return r.at(s.numbers[place-s.base])
}

// place is where the first event after a revision is, or will be.
func (s *scope) place(r *ring, revision int64) int64 {
	number := r.after(revision)
	if s.key.by == everything {
		return number
	}
	i, _ := slices.BinarySearch(s.numbers, number)
	return s.base + int64(i)
}

// lost says that a watcher which has seen everything up to a revision has missed something.
func (s *scope) lost(r *ring, revision int64) bool {
	if s.key.by == everything {
		return revision < r.since
	}
	return revision < s.since
}

// forget drops the event with a number, which is the oldest.
func (s *scope) forget(number, revision int64) {
	if len(s.numbers) > 0 && s.numbers[0] == number {
		s.numbers = s.numbers[1:]
		s.base++
		s.since = revision
		if len(s.numbers) == 0 {
			s.numbers = nil
		}
	}
}

// touched calls visit for the key of every scope that an event belongs to, everything excepted. A key may come twice.
func touched(r *Resource, e *event, visit func(scopeKey)) {
	o := e.object
	if o == nil {
		o = e.before
	}
	visit(scopeKey{byName, "", o.Name})
	if o.Namespace != "" {
		visit(scopeKey{byNamespace, o.Namespace, ""})
		visit(scopeKey{byName, o.Namespace, o.Name})
	}
	for i, field := range r.Indexed {
		if e.object != nil {
			visit(scopeKey{i, "", e.object.Fields.Get(field)})
		}
		if e.before != nil {
			visit(scopeKey{i, "", e.before.Fields.Get(field)})
		}
	}
}

// narrowest is the smallest scope that holds all that a watch may be told.
func narrowest(r *Resource, opts *WatchOptions) scopeKey {
	if name, ok := exactField(opts.Fields, "metadata.name"); ok && opts.Name == "" {
		opts.Name = name
	}
	if opts.Name != "" {
		return scopeKey{byName, opts.Namespace, opts.Name}
	}
	for i, field := range r.Indexed {
		if value, ok := exactField(opts.Fields, field); ok {
			return scopeKey{i, "", value}
		}
	}
	if opts.Namespace != "" {
		return scopeKey{byNamespace, opts.Namespace, ""}
	}
	return scopeKey{by: everything}
}
