package watchcache

import (
	"context"
	"io"
	"maps"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// batch is how many events a watcher is given at a time. It bounds what a slow client holds on to.
	batch = 128
	// bookmarkEvery keeps a client's revision young enough to take up the watch again. bookmarkEarly is how long before
	// its end a watch gets one.
	bookmarkEvery = time.Minute
	bookmarkEarly = 2 * time.Second
)

// filter is what a watch wants to see.
type filter struct {
	prefix string
	opts   *WatchOptions
}

func (f *filter) matches(o *Object) bool {
	return o != nil && (f.opts.Name == "" || f.opts.Name == o.Name) && strings.HasPrefix(o.Key, f.prefix) &&
		o.matches(f.opts.Labels, f.opts.Fields)
}

// see is what a change looks like through the filter: objects that come into view are added, those that leave it deleted.
func (f *filter) see(before, object *Object, gone func() *Object) (Event, bool) {
	was, is := f.matches(before), f.matches(object)
	switch {
	case is && was:
		return Event{Type: watch.Modified, Object: object}, true
	case is:
		return Event{Type: watch.Added, Object: object}, true
	case was:
		return Event{Type: watch.Deleted, Object: gone()}, true
	}
	return Event{}, false
}

// begin says how a watch starts.
type begin struct {
	revision int64 // of the client
	initial  bool  // with the current state
	fresh    bool  // after a read index
	end      bool  // with a bookmark after the current state
}

func beginning(opts *WatchOptions) (begin, error) {
	revision, err := ParseRevision(opts.ResourceVersion)
	if err != nil {
		return begin{}, err
	}
	b := begin{revision: revision, initial: revision == 0, fresh: revision == 0}
	if send := opts.SendInitialEvents; send != nil {
		b.initial = *send
		b.fresh = b.fresh || *send
		b.end = *send && opts.Bookmarks
	}
	return b, nil
}

// bookmark is an object of which only the revision counts.
func bookmark(codec Codec, revision int64, initialEnd bool) Event {
	var obj runtime.Object
	if b, ok := codec.(Blanker); ok {
		obj = b.Blank()
	} else {
		obj = codec.New()
	}
	if m, err := meta.Accessor(obj); err == nil {
		m.SetResourceVersion(strconv.FormatInt(revision, 10))
		if initialEnd {
			annotations := map[string]string{metav1.InitialEventsAnnotationKey: "true"}
			maps.Copy(annotations, m.GetAnnotations())
			m.SetAnnotations(annotations)
		}
	}
	return Event{Type: watch.Bookmark, Object: &Object{Revision: revision, codec: codec, always: &decoded{object: obj}}}
}

// clock says when a watch gets bookmarks.
type clock struct {
	// next is a full period after the last one, or after the watch began.
	next time.Time
}

// due is when the next bookmark is due: after a period, or a little before the watch ends. A watch that is shorter than
// that little gets none.
func (c *clock) due(ctx context.Context) time.Time {
	if end, ok := ctx.Deadline(); ok {
		early := end.Add(-bookmarkEarly)
		if early.Before(c.next) && early.After(c.next.Add(-bookmarkEvery)) {
			return early
		}
	}
	return c.next
}

func (c *clock) given(now time.Time) {
	c.next = now.Add(bookmarkEvery)
}

// cacheWatcher is a place in a scope of a Cache, and a filter.
type cacheWatcher struct {
	cache      *Cache
	filter     filter
	scope      *scope
	generation int
	// place is that of the next event in the scope. Events up to revision have been seen, or are not wanted.
	place    int64
	revision int64

	// initial is the state still to be told of, from a key on; nil when that is done.
	initial    *state
	initialKey string
	initialEnd bool

	clock clock
	timer *time.Timer
	// told is when live events were last given, crowd how many watched the same then; see gather.
	told   time.Time
	crowd  int
	events []Event
	raw    []*event
	failed error // to be told
	ended  bool
}

// Watch implements Reader. As with upstream, what goes wrong after the options have been understood is told by an event.
func (c *Cache) Watch(ctx context.Context, opts WatchOptions) (Watcher, error) {
	b, err := beginning(&opts)
	if err != nil {
		return nil, err
	}
	w := &cacheWatcher{cache: c, initialEnd: b.end, clock: clock{next: c.hub.now().Add(bookmarkEvery)}}
	key := narrowest(&c.Resource, &opts)
	w.filter = filter{prefixOf(&c.Resource, opts.Namespace), &opts}
	for {
		if b.fresh {
			err = c.hub.fresh(ctx, c, Fresh(b.revision))
		} else {
			err = c.wait(ctx)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, err
		default:
			w.failed = err
			return w, nil
		}
		if w.begin(b, key) {
			return w, nil
		}
	}
}

// begin takes the watcher's place; it answers false if the kind is about to be loaded anew.
func (w *cacheWatcher) begin(b begin, key scopeKey) bool {
	c := w.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isClosed(c.loaded) {
		return false
	}
	w.generation = c.generation
	s, reached := c.viewLocked()
	now := b.initial || b.revision == 0
	switch {
	case now:
		w.revision = reached
	case b.revision < c.ring.since:
		w.failed = tooOld(b.revision, c.ring.since)
		return true
	default:
		w.revision = b.revision
	}
	w.scope = c.join(key, w.revision)
	if now {
		w.place = w.scope.end(&c.ring)
	} else {
		w.place = w.scope.place(&c.ring, b.revision)
	}
	if b.initial {
		w.initial, w.initialKey = s, w.filter.prefix
	}
	return true
}

// Close implements Watcher.
func (w *cacheWatcher) Close() {
	w.ended = true
	if w.scope != nil {
		w.cache.leave(w.scope)
		w.scope = nil
	}
}

// Next implements Watcher.
func (w *cacheWatcher) Next(ctx context.Context) ([]Event, error) {
	clear(w.events)
	w.events = w.events[:0]
	if w.ended {
		return nil, io.EOF
	}
	for w.failed == nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if w.initial != nil {
			if w.tellInitial(); len(w.events) > 0 {
				return w.events, nil
			}
			continue
		}
		if err := w.gather(ctx); err != nil {
			return nil, err
		}
		wake, reached := w.take()
		for _, e := range w.raw {
			if e.revision <= w.revision {
				continue
			}
			if seen, ok := w.filter.see(e.before, e.object, e.gone); ok {
				w.events = append(w.events, seen)
			}
			w.revision = e.revision
		}
		clear(w.raw)
		switch {
		case len(w.events) > 0:
			if w.crowd >= crowded {
				w.told = time.Now()
			}
			return w.events, nil
		case w.ended:
			return nil, io.EOF
		case w.failed != nil, wake == nil:
			continue
		}
		if due, err := w.sleep(ctx, wake); err != nil {
			return nil, err
		} else if due && reached >= w.revision {
			w.clock.given(w.cache.hub.now())
			w.events = append(w.events, bookmark(w.cache.Codec, reached, false))
			return w.events, nil
		} else if due {
			w.clock.given(w.cache.hub.now()) // a watch from the future has nothing to say yet
		}
	}
	w.ended = true
	w.events = append(w.events, errorEvent(w.failed))
	return w.events, nil
}

// A change that many watch costs the server some microseconds for each of them, for waking and sending more than for
// bytes. Where changes follow each other faster than that can be done, a watcher that has just been told waits until all
// others can have been, too, and is then told of all that happened meanwhile at once. The first change after a pause is
// told without delay, and so is everything to watchers that are few.
const (
	crowded    = 16
	gatherEach = 50 * time.Microsecond
	gatherMost = 10 * time.Millisecond
)

// gather waits that long.
func (w *cacheWatcher) gather(ctx context.Context) error {
	if w.told.IsZero() {
		return nil
	}
	rest := min(time.Duration(w.crowd)*gatherEach, gatherMost) - time.Since(w.told)
	w.told = time.Time{}
	if rest <= 0 {
		return nil
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take fills raw with the events at the watcher's place. If there are none it answers what to wait for, and up to which
// revision that is all.
func (w *cacheWatcher) take() (wake <-chan struct{}, reached int64) {
	c := w.cache
	w.raw = w.raw[:0]
	c.mu.RLock()
	defer c.mu.RUnlock()
	switch {
	case c.closed:
		w.ended = true
		return nil, 0
	case w.generation != c.generation, w.place < w.scope.begin(&c.ring) && w.scope.lost(&c.ring, w.revision):
		w.failed = tooOld(w.revision, c.ring.since)
		return nil, 0
	}
	// What was dropped before the watcher's place was of revisions that it knew from the start.
	w.place = max(w.place, w.scope.begin(&c.ring))
	end := min(w.scope.end(&c.ring), w.place+batch)
	for ; w.place < end; w.place++ {
		w.raw = append(w.raw, w.scope.event(&c.ring, w.place))
	}
	if len(w.raw) > 0 {
		w.crowd = w.scope.watchers
		return nil, 0
	}
	// The hub enters an event in the ring before it moves its revision on.
	_, reached = c.viewLocked()
	return c.sleep(w.scope), reached
}

// sleep waits for an event or for the time of a bookmark.
func (w *cacheWatcher) sleep(ctx context.Context, wake <-chan struct{}) (due bool, err error) {
	var tick <-chan time.Time
	if w.filter.opts.Bookmarks {
		wait := w.clock.due(ctx).Sub(w.cache.hub.now())
		if w.timer == nil {
			w.timer = time.NewTimer(wait)
		} else {
			w.timer.Reset(wait)
		}
		tick = w.timer.C
		defer w.timer.Stop()
	}
	select {
	case <-wake:
		return false, nil
	case <-tick:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// tellInitial gives the next objects of the state at which the watch began.
func (w *cacheWatcher) tellInitial() {
	opts, more := w.filter.opts, false
	w.cache.visit(w.initial, w.filter.prefix, w.initialKey, opts.Name, opts.Fields, func(o *Object) bool {
		if !w.filter.matches(o) {
			return true
		}
		if more = len(w.events) == batch; more {
			w.initialKey = o.Key
			return false
		}
		w.events = append(w.events, Event{Type: watch.Added, Object: o})
		return true
	})
	if more {
		return
	}
	w.initial = nil
	if w.initialEnd {
		w.events = append(w.events, bookmark(w.cache.Codec, w.revision, true))
		w.clock.next = w.cache.hub.now().Add(bookmarkEvery)
	}
}
