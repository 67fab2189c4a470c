package watchcache

import (
	"sync/atomic"
	"time"
)

// An encoding that nobody has asked for during a whole interval is dropped: a list of everything in a form that nobody
// watches would otherwise stay in memory for good.
const sweepInterval = 30 * time.Second

// sweeps counts intervals. It is the process's, not a hub's, so that an Object needs no pointer to its hub.
var sweeps atomic.Uint32

// sweep drops the encodings of an object that were last used before an interval, and answers the bytes freed.
func (o *Object) sweep(before uint32) int {
	if o.forms.Load() == nil {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var kept *encoding
	freed := 0
	for e := o.forms.Load(); e != nil; e = e.next {
		if used := e.lastUsed.Load(); int32(used-before) < 0 {
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

// sweep drops what has not been used of the current objects and of the past ones that the ring holds.
func (c *Cache) sweep(before uint32) int {
	freed := 0
	drop := func(o *Object) bool {
		freed += o.sweep(before)
		return true
	}
	c.state.Load().objects.all(drop)
	c.mu.Lock()
	c.ring.expire(c.hub.now())
	past := c.ring.all()
	c.mu.Unlock()
	for _, e := range past {
		if e.before != nil {
			drop(e.before)
		}
		if g := e.ghost.Load(); g != nil {
			drop(g)
		}
	}
	c.snapshots.expire(c.hub.now(), 0)
	return freed
}
