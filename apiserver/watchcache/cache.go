package watchcache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// errClosed is what readers get of a kind that is no longer served.
var errClosed = fmt.Errorf("the kind is no longer served: %w", storage.ErrUnavailable)

// Cache keeps the objects of one kind. Readers take its state, which never changes, by one atomic load; the hub alone
// replaces it. Locks are taken in the order applying, pending.mu, mu, wakeMu, Object.mu.
type Cache struct {
	Resource
	hub       *Hub
	pending   pending
	snapshots snapshots

	// state is nil until the kind is loaded for the first time.
	state atomic.Pointer[state]
	// hasLocked says that a value could not be decrypted since the last load.
	hasLocked atomic.Bool

	// applying is held while changes are applied, and while the result of a load is put in place.
	applying sync.Mutex
	// backlog are changes that came while loading; live says that there is no loading.
	backlog  []storage.Change
	live     bool
	loadedAt int64

	mu     sync.RWMutex
	ring   ring
	all    *scope
	scopes map[scopeKey]*scope // without all
	// generation counts how often the kind was unloaded: who watches since an earlier one has missed something. It changes
	// under applying, too.
	generation int
	loaded     chan struct{} // closed while live
	closed     bool

	wakeMu sync.Mutex
}

// state is all objects of a kind after a change.
type state struct {
	// revision is that of the last change, or of the load.
	revision int64
	objects  *tree
	// indexes are the objects again, one tree for each of Resource.Indexed, by field and key.
	indexes []*tree
}

func newCache(h *Hub, r Resource) *Cache {
	c := &Cache{Resource: r, hub: h, loaded: make(chan struct{}), scopes: map[scopeKey]*scope{}}
	c.all = &scope{key: scopeKey{by: everything}}
	c.ring = ring{most: h.cfg.ringMost, budget: h.cfg.ringBytes, dropped: c.dropped}
	c.pending.resource = &c.Resource
	c.pending.current = func(key string) *Object {
		if s := c.state.Load(); s != nil {
			return s.objects.at(byKey(key))
		}
		return nil
	}
	return c
}

func byKey(key string) order {
	return func(o *Object) int { return strings.Compare(key, o.Key) }
}

func byField(field, value, key string) order {
	return func(o *Object) int {
		if c := strings.Compare(value, o.Fields.Get(field)); c != 0 {
			return c
		}
		return strings.Compare(key, o.Key)
	}
}

// Count is the number of objects.
func (c *Cache) Count() int {
	if s := c.state.Load(); s != nil {
		return s.objects.len()
	}
	return 0
}

// set puts an object in the place of its predecessor, which may be nil.
func (c *Cache) set(s *state, before, o *Object) {
	s.objects = s.objects.with(byKey(o.Key), o)
	for i, field := range c.Indexed {
		value := o.Fields.Get(field)
		if before != nil {
			if was := before.Fields.Get(field); was != value {
				s.indexes[i] = s.indexes[i].without(byField(field, was, o.Key))
			}
		}
		s.indexes[i] = s.indexes[i].with(byField(field, value, o.Key), o)
	}
}

func (c *Cache) unset(s *state, o *Object) {
	s.objects = s.objects.without(byKey(o.Key))
	for i, field := range c.Indexed {
		s.indexes[i] = s.indexes[i].without(byField(field, o.Fields.Get(field), o.Key))
	}
}

// copy is a state to change.
func (s *state) copy() *state {
	return &state{revision: s.revision, objects: s.objects, indexes: append([]*tree(nil), s.indexes...)}
}

// follow takes what etcd tells. It is called by the hub alone, in order.
func (c *Cache) follow(changes []storage.Change) {
	c.applying.Lock()
	defer c.applying.Unlock()
	if !c.live {
		c.backlog = append(c.backlog, changes...)
		return
	}
	c.apply(changes)
}

// apply makes the next state and publishes it with its events. The caller holds applying.
func (c *Cache) apply(changes []storage.Change) {
	s := c.state.Load().copy()
	events := make([]*event, 0, len(changes))
	for i := range changes {
		if e := c.change(s, &changes[i]); e != nil {
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		c.route(e, c.ring.push(e))
	}
	c.state.Store(s)
}

// change applies one change to s. It answers nil for one that the load has seen already.
func (c *Cache) change(s *state, ch *storage.Change) *event {
	if ch.Revision <= c.loadedAt {
		c.pending.take(ch)
		return nil
	}
	e := &event{revision: ch.Revision, at: c.hub.now()}
	e.before = s.objects.at(byKey(ch.Key))
	if ch.Deleted {
		if e.before == nil {
			return nil
		}
		c.unset(s, e.before)
	} else {
		if e.object = c.pending.take(ch); e.object == nil {
			e.object = objectOf(&c.Resource, &ch.KV, e.before)
			c.complain(e.object)
		}
		c.set(s, e.before, e.object)
	}
	s.revision = ch.Revision
	return e
}

// route enters an event in the scopes that somebody watches, and wakes the watchers. The caller holds mu.
func (c *Cache) route(e *event, number int64) {
	c.all.signal()
	if len(c.scopes) == 0 {
		return
	}
	touched(&c.Resource, e, func(key scopeKey) {
		s := c.scopes[key]
		if s == nil || len(s.numbers) > 0 && s.numbers[len(s.numbers)-1] == number {
			return
		}
		s.numbers = append(s.numbers, number)
		s.signal()
	})
}

// dropped is told by the ring of an event that goes. The caller holds mu.
func (c *Cache) dropped(number int64, e *event) {
	if len(c.scopes) == 0 {
		return
	}
	touched(&c.Resource, e, func(key scopeKey) {
		if s := c.scopes[key]; s != nil {
			s.forget(number, e.revision)
		}
	})
}

// join finds or makes a scope for one more watcher, of what happens after a revision that the ring reaches back to. The
// caller holds mu.
func (c *Cache) join(key scopeKey, after int64) *scope {
	if key.by == everything {
		c.all.watchers++
		return c.all
	}
	s := c.scopes[key]
	if s == nil {
		s = &scope{key: key, since: after, numbers: c.numbers(key, c.ring.after(after), c.ring.next)}
		c.scopes[key] = s
	} else if after < s.since {
		// Places of the other watchers stay what they are: base counts down.
		earlier := c.numbers(key, c.ring.after(after), c.ring.after(s.since))
		s.numbers = append(earlier, s.numbers...)
		s.base -= int64(len(earlier))
		s.since = after
	}
	s.watchers++
	return s
}

// numbers are those of a scope's events among some of the ring. A watcher that begins at the present looks at none, however
// long the ring is.
func (c *Cache) numbers(key scopeKey, from, to int64) (out []int64) {
	for n := from; n < to; n++ {
		in := false
		touched(&c.Resource, c.ring.at(n), func(k scopeKey) { in = in || k == key })
		if in {
			out = append(out, n)
		}
	}
	return out
}

func (c *Cache) leave(s *scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.watchers--; s.watchers == 0 && c.scopes[s.key] == s {
		delete(c.scopes, s.key)
	}
}

// sleep is the channel that closes at a scope's next event. The caller holds mu for reading.
func (c *Cache) sleep(s *scope) <-chan struct{} {
	c.wakeMu.Lock()
	defer c.wakeMu.Unlock()
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}

func (c *Cache) wakeAll() {
	c.all.signal()
	for _, s := range c.scopes {
		s.signal()
	}
}

// wait returns when the kind is loaded.
func (c *Cache) wait(ctx context.Context) error {
	for {
		c.mu.RLock()
		loaded, closed := c.loaded, c.closed
		c.mu.RUnlock()
		if closed {
			return errClosed
		}
		select {
		case <-loaded:
			return nil
		default:
		}
		select {
		case <-loaded:
		case <-c.hub.stopped:
			return errStopped
		case <-ctx.Done():
			return fmt.Errorf("load %s: %w", c.GroupResource, waitError(ctx))
		}
	}
}

func (c *Cache) isLoaded() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return !c.closed && isClosed(c.loaded)
}

// waitError is how an unfinished wait is reported: a client that went away is nobody's fault.
func waitError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return storage.ErrTimeout
	}
	return ctx.Err()
}

// unload forgets that the kind is loaded, at the start and when changes were missed. Readers wait; who watches is told to
// list again, since nobody knows any more what happened in between.
func (c *Cache) unload() {
	c.applying.Lock()
	defer c.applying.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live {
		c.loaded = make(chan struct{})
	}
	c.live, c.backlog = false, nil
	c.generation++
	c.ring.clear(c.ring.since)
	c.snapshots.clear()
	c.pending.clear()
	c.wakeAll()
}

// load reads all objects and puts them in place. Changes that come meanwhile wait in the backlog.
// What is read for a generation that has passed is thrown away: it may have a gap behind it.
func (c *Cache) load(ctx context.Context, generation int) error {
	var objects []*Object
	var revision int64
	size := 0
	c.hasLocked.Store(false)
	for from := ""; ; {
		page, err := c.hub.cfg.Store.Page(ctx, c.Prefix, from, loadPage, revision)
		if err != nil {
			return err
		}
		revision = page.Revision
		var before *Object
		for i := range page.KVs {
			kv := &page.KVs[i]
			// A neighbour often has the same labels and fields; what is equal is kept once.
			o := objectOf(&c.Resource, kv, nil)
			o.shareWith(before)
			c.complain(o)
			objects, before = append(objects, o), o
			size += len(kv.Value)
		}
		if !page.More {
			break
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
	s := &state{revision: revision, objects: build(objects), indexes: make([]*tree, len(c.Indexed))}
	for i, field := range c.Indexed {
		for _, o := range objects {
			s.indexes[i] = s.indexes[i].with(byField(field, o.Fields.Get(field), o.Key), o)
		}
	}

	c.applying.Lock()
	defer c.applying.Unlock()
	if c.generation != generation {
		return nil
	}
	c.mu.Lock()
	c.loadedAt = revision
	c.ring.clear(revision)
	c.ring.live = size
	c.state.Store(s)
	c.mu.Unlock()
	backlog := c.backlog
	c.live, c.backlog = true, nil
	c.apply(backlog)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isClosed(c.loaded) { // it is if the kind has been removed
		close(c.loaded)
	}
	return nil
}

// loadPage is how many objects a load reads at a time.
const loadPage = 1000

// close ends serving: watchers get io.EOF.
func (c *Cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if !isClosed(c.loaded) {
		close(c.loaded)
	}
	c.wakeAll()
}

func isClosed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// view is the current state and the newest revision at which it is true.
func (c *Cache) view() (*state, int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.viewLocked()
}

// viewLocked is view for a caller that holds mu. The hub moves its revision on when every state up to it is published, and
// to another history's only when every kind is unloaded; both take mu.
func (c *Cache) viewLocked() (*state, int64) {
	s := c.state.Load()
	if !isClosed(c.loaded) {
		return s, s.revision
	}
	return s, max(s.revision, c.hub.revision.Load())
}

// Prepare implements Reader.
func (c *Cache) Prepare(key string, stored []byte, obj runtime.Object) *Prepared {
	return c.pending.add(key, stored, obj)
}

// Wrote implements Reader.
func (c *Cache) Wrote(revision int64) { c.pending.wrote(revision) }

// Acknowledged implements Reader.
func (c *Cache) Acknowledged() int64 { return c.pending.acked.Load() }

// CatchUp implements Reader.
func (c *Cache) CatchUp(ctx context.Context) error {
	acked := c.Acknowledged()
	if acked <= c.hub.revision.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.hub.cfg.Patience)
	defer cancel()
	return c.hub.waiters.wait(ctx, c.hub, acked)
}
