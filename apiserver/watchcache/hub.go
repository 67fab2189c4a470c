package watchcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// Config of a Hub.
type Config struct {
	Store *storage.Store
	// Log is where the hub tells of lost watches and objects that it cannot decode. Default slog.Default.
	Log *slog.Logger
	// Patience is how long a read waits for etcd, and for the cache to catch up with it. Default 10 s.
	Patience time.Duration

	// ringMost and ringBytes are the bounds of each kind's ring; tests narrow them.
	ringMost, ringBytes int
	clock               func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Patience == 0 {
		c.Patience = 10 * time.Second
	}
	if c.ringMost == 0 {
		c.ringMost = ringMost
	}
	if c.ringBytes == 0 {
		c.ringBytes = ringBytes
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	return c
}

// root is where all keys of all kinds are.
const root = "/registry/"

// Hub follows etcd by one watch and keeps the caches of all kinds.
type Hub struct {
	cfg Config

	// revision is how far etcd has been followed: every change up to it is in the caches.
	revision atomic.Int64

	// mu guards changes of the following. caches is replaced, never changed; byPrefix is read by every change in etcd.
	mu      sync.Mutex
	caches  atomic.Pointer[map[string]*Cache]
	running bool
	ctx     context.Context // of Run, for loads
	tasks   sync.WaitGroup

	waiters waiters
	// stopped is closed when Run has returned: nothing is worth waiting for any more.
	stopped chan struct{}
	// lost is told by whoever finds that etcd's history is not the one that was followed.
	lost chan struct{}
	// reread asks for another look at values that could not be decrypted.
	reread chan struct{}
}

// NewHub makes a hub. Kinds may be added before and while it runs.
func NewHub(cfg Config) *Hub {
	h := &Hub{cfg: cfg.withDefaults(), lost: make(chan struct{}, 1), stopped: make(chan struct{}), reread: make(chan struct{}, 1)}
	h.caches.Store(&map[string]*Cache{})
	h.waiters.asked = make(chan struct{}, 1)
	return h
}

func (h *Hub) now() time.Time { return h.cfg.clock() }

// Revision is how far the hub has followed etcd.
func (h *Hub) Revision() int64 { return h.revision.Load() }

// Add begins to serve a kind. Reads wait until its objects are loaded. A kind with the same prefix is replaced, and its
// watchers end.
func (h *Hub) Add(r Resource) Reader {
	if r.Uncached {
		return &Uncached{Resource: r, hub: h}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := newCache(h, r)
	h.replace(r.Prefix, c)
	if h.running {
		h.load(h.ctx, c)
	}
	return c
}

// Remove ends serving a kind: its watchers end.
func (h *Hub) Remove(prefix string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replace(prefix, nil)
}

func (h *Hub) replace(prefix string, c *Cache) {
	next := maps.Clone(*h.caches.Load())
	if old := next[prefix]; old != nil {
		defer old.close()
	}
	if c == nil {
		delete(next, prefix)
	} else {
		next[prefix] = c
	}
	h.caches.Store(&next)
}

// Ready waits until every kind added so far is loaded.
func (h *Hub) Ready(ctx context.Context) error {
	for _, c := range *h.caches.Load() {
		if err := c.wait(ctx); err != nil && !errors.Is(err, errClosed) {
			return err
		}
	}
	return nil
}

// load loads a kind in the background, as often as it takes. The caller holds mu.
func (h *Hub) load(ctx context.Context, c *Cache) {
	c.mu.RLock()
	generation := c.generation
	c.mu.RUnlock()
	h.tasks.Go(func() {
		for attempt := 0; ctx.Err() == nil; attempt++ {
			c.mu.RLock()
			over := c.closed || c.generation != generation
			c.mu.RUnlock()
			if over {
				return
			}
			err := c.load(ctx, generation)
			if err == nil {
				return
			}
			if ctx.Err() == nil {
				h.cfg.Log.Warn("objects could not be loaded; it is tried again", "resource", c.GroupResource, "err", err)
			}
			pause(ctx, attempt)
		}
	})
}

// pause waits before another attempt: 50 ms at first, a second in the end.
func pause(ctx context.Context, attempt int) {
	select {
	case <-ctx.Done():
	case <-time.After(min(50*time.Millisecond<<min(attempt, 5), time.Second)):
	}
}

// Run follows etcd until ctx ends, once. Reads wait until it runs, and fail when it no longer does.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer close(h.stopped)
	defer h.tasks.Wait()
	defer cancel()
	h.tasks.Go(func() { h.sweep(ctx) })
	h.tasks.Go(func() { h.unlock(ctx) })
	for ctx.Err() == nil {
		if err := h.restart(ctx); err != nil {
			return nil // ctx has ended
		}
		err := h.follow(ctx)
		if ctx.Err() == nil {
			h.cfg.Log.Warn("etcd's history was lost; everything is read again", "err", err)
		}
	}
	return nil
}

// restart begins at etcd's present and loads everything.
func (h *Hub) restart(ctx context.Context) error {
	h.mu.Lock()
	h.running = false
	for _, c := range *h.caches.Load() {
		c.unload()
	}
	h.mu.Unlock()
	for attempt := 0; ; attempt++ {
		revision, err := h.cfg.Store.Revision(ctx)
		if err == nil {
			h.revision.Store(revision)
			h.waiters.reached(revision)
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if attempt == 0 {
			h.cfg.Log.Warn("etcd does not answer", "err", err)
		}
		pause(ctx, attempt)
	}
	select {
	case <-h.lost:
	default:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running, h.ctx = true, ctx
	for _, c := range *h.caches.Load() {
		h.load(ctx, c)
	}
	return nil
}

// follow takes changes from etcd, over as many watches as it takes. It returns when there is a gap.
func (h *Hub) follow(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		before := h.revision.Load()
		err := h.followOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, storage.ErrCompacted), errors.Is(err, errLost):
			return err
		}
		if h.revision.Load() > before {
			attempt = 0
		}
		h.cfg.Log.Warn("the watch of etcd broke; it is taken up again", "revision", h.revision.Load(), "err", err)
		pause(ctx, attempt)
	}
}

var errStopped = fmt.Errorf("the server is stopping: %w", storage.ErrUnavailable)

var errLost = errors.New("etcd is at an earlier revision than before")

func (h *Hub) followOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	stream := h.cfg.Store.Watch(ctx, root, h.revision.Load(), false)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stream.Close()
	defer cancel(nil)
	helpers.Go(func() { h.askProgress(ctx, stream) })
	helpers.Go(func() {
		select {
		case <-h.lost:
			cancel(errLost)
		case <-ctx.Done():
		}
	})
	for {
		b, err := stream.Next(ctx)
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, errLost) {
				return cause
			}
			return err
		}
		h.dispatch(b.Changes)
		if b.Revision > h.revision.Load() {
			h.revision.Store(b.Revision)
			h.waiters.reached(b.Revision)
		}
	}
}

// dispatch hands changes to the caches, in order, those of one kind together.
func (h *Hub) dispatch(changes []storage.Change) {
	caches := *h.caches.Load()
	if len(changes) == 1 {
		if c := find(caches, changes[0].Key); c != nil {
			c.follow(changes)
		}
		return
	}
	// Only the order within a kind can be seen from outside: a kind's state is never ahead of its own changes, and the
	// hub's revision moves when all kinds have theirs.
	var order []*Cache
	parts := map[*Cache][]storage.Change{}
	for i := range changes {
		c := find(caches, changes[i].Key)
		if c == nil {
			continue
		}
		if _, known := parts[c]; !known {
			order = append(order, c)
		}
		parts[c] = append(parts[c], changes[i])
	}
	for _, c := range order {
		c.follow(parts[c])
	}
}

// find is the cache of the kind to which a key belongs. Prefixes end in a slash and a namespace and a name follow at most,
// so there are few to try; the longest wins, as /registry/services/specs/ is not /registry/services/.
func find(caches map[string]*Cache, key string) *Cache {
	for cut := key; len(cut) > len(root); {
		i := strings.LastIndexByte(cut[:len(cut)-1], '/')
		if i < len(root) {
			return nil
		}
		cut = cut[:i+1]
		if c := caches[cut]; c != nil {
			return c
		}
	}
	return nil
}

// fresh waits until the caches are as fresh as a read must be, and c is loaded.
func (h *Hub) fresh(ctx context.Context, c *Cache, want Fresh) error {
	before := h.revision.Load()
	if want == Cached {
		return c.wait(ctx)
	}
	now, err := h.cfg.Store.Revision(ctx)
	if err != nil {
		return err
	}
	if now < before {
		// etcd was put back to an earlier time, by a restored backup. Nothing that is known here can be trusted.
		select {
		case h.lost <- struct{}{}:
		default:
		}
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, errLost)
	}
	// First the revision, then whether the kind is loaded. The other way round, a restart between could pass off a state of
	// before the gap as one of after.
	if h.revision.Load() >= max(now, int64(want)) && c.isLoaded() {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, h.cfg.Patience)
	defer cancel()
	if err := h.waiters.wait(bounded, h, now); err != nil {
		return err
	}
	if err := c.wait(bounded); err != nil {
		return err
	}
	if int64(want) <= now {
		return nil
	}
	return h.future(ctx, int64(want))
}

// futureWait is how long a read waits for a revision that has not happened, as with upstream.
const futureWait = 3 * time.Second

func (h *Hub) future(ctx context.Context, revision int64) error {
	bounded, cancel := context.WithTimeout(ctx, futureWait)
	defer cancel()
	err := h.waiters.wait(bounded, h, revision)
	if err != nil && ctx.Err() == nil {
		return tooLarge(revision, h.revision.Load())
	}
	return err
}

// complain tells of an object that cannot be decoded.
func (c *Cache) complain(o *Object) {
	if o.locked() {
		c.hasLocked.Store(true)
	}
	if err := o.Err(); err != nil {
		c.hub.cfg.Log.Error("a stored object cannot be read; lists of its kind fail until it is repaired or deleted", "err", err)
	}
}

// sweep drops what is no longer used, every now and then.
func (h *Hub) sweep(ctx context.Context) {
	ticker := time.NewTicker(retireInterval)
	defer ticker.Stop()
	for turn := 1; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, allowed := sweeps.Add(1), encodingsLeast
		var loaded []*Cache
		for _, c := range *h.caches.Load() {
			if c.state.Load() != nil {
				c.retire()
				allowed += c.allowed()
				loaded = append(loaded, c)
			}
		}
		switch {
		case turn%int(sweepInterval/retireInterval) == 0:
			for _, c := range loaded {
				c.sweep(now - uint32(sweepInterval/retireInterval))
			}
		case made.Load() > int64(allowed):
			h.thin(loaded, now-uint32(sweepEarly/retireInterval), false)
		case madeCheap.Load() > cheapLeast:
			h.thin(loaded, now-1, true)
		}
	}
}

// thin drops encodings that were not used since a sweep, and counts what is left.
func (h *Hub) thin(caches []*Cache, since uint32, cheapOnly bool) {
	var left, cheap int64
	for _, c := range caches {
		a, b := c.thin(since, cheapOnly)
		left, cheap = left+a, cheap+b
	}
	made.Store(left)
	madeCheap.Store(cheap)
}
