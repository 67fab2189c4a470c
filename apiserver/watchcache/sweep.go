package watchcache

import (
	"sync/atomic"
	"time"
)

// An encoding that nobody has asked for during a whole interval is dropped: a list of everything in a form that nobody
// watches would otherwise stay in memory for good.
const sweepInterval = 30 * time.Second

// An object that has been replaced is wanted by watchers that lag behind, for a moment. Then its encodings go, and only what
// is stored remains for the ring to hold; a watcher that lags further has them made again.
const (
	retireInterval = time.Second
	retireAge      = 2 * time.Second
)

// sweeps counts intervals. It is the process's, not a hub's, so that an Object needs no pointer to its hub.
var sweeps atomic.Uint32

// sweep drops the encodings of an object that were last used before an interval, and answers the bytes freed. A writer that
// was cut off before it read its own write has left more than that.
func (o *Object) sweep(before uint32) int {
	o.mu.Lock()
	o.written = nil
	o.mu.Unlock()
	return o.drop(func(e *encoding) bool { return int32(e.lastUsed.Load()-before) < 0 })
}

// drop drops some of an object's encodings, and answers the bytes freed.
func (o *Object) drop(which func(*encoding) bool) int {
	if o.forms.Load() == nil {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var kept *encoding
	freed := 0
	for e := o.forms.Load(); e != nil; e = e.next {
		if which(e) {
			freed += len(e.bytes)
			continue
		}
		// Readers may be on the old list: it is not changed but copied.
		fresh := &encoding{form: e.form, bytes: e.bytes, next: kept}
		fresh.lastUsed.Store(e.lastUsed.Load())
		kept = fresh
	}
	if freed > 0 {
		o.forms.Store(kept)
	}
	return freed
}

// sweep drops the encodings of current objects that are not used, and what the ring and the snapshots need not keep.
func (c *Cache) sweep(before uint32) int {
	freed := 0
	c.state.Load().objects.all(func(o *Object) bool {
		freed += o.sweep(before)
		return true
	})
	c.mu.Lock()
	c.ring.expire(c.hub.now())
	c.mu.Unlock()
	c.snapshots.expire(c.hub.now(), c.hub.cfg.Store.Compacted())
	return freed
}

// retire drops the encodings of objects that were replaced a moment ago.
func (c *Cache) retire() int {
	c.mu.Lock()
	past := c.ring.past(c.hub.now().Add(-retireAge))
	c.mu.Unlock()
	all := func(*encoding) bool { return true }
	freed := 0
	for _, e := range past {
		if e.before != nil {
			freed += e.before.drop(all)
		}
		if g := e.ghost.Load(); g != nil {
			freed += g.drop(all)
		}
	}
	return freed
}
