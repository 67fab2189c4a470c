package watchcache

import (
	"sync/atomic"
	"time"
)

// An encoding that nobody has asked for during a whole interval is dropped: a list of everything in a form that nobody
// watches would otherwise stay in memory for good. Where encodings take more memory than they may, those are packed that
// were not asked for in the last seconds; and those that are cheap to make go then in any case.
const (
	sweepInterval = 30 * time.Second
	sweepEarly    = 3 * time.Second
	// encodingsLeast is how many bytes they may take, besides half of what the stored values do.
	encodingsLeast = 8 << 20
	// cheapLeast is how many bytes are worth a look for cheap ones.
	cheapLeast = 1 << 20
)

// An object that has been replaced is wanted by watchers that lag behind, for a moment. Then its encodings go, and only what
// is stored remains for the ring to hold; a watcher that lags further has them made again.
const (
	retireInterval = time.Second
	retireAge      = 2 * time.Second
)

// sweeps counts retireIntervals; made is how many bytes of encodings there are, and madeCheap of cheap ones among them:
// estimates, put right by Hub.thin. They are the process's, not a hub's, so that an Object needs no pointer to its hub.
var (
	sweeps          atomic.Uint32
	made, madeCheap atomic.Int64
)

// sweep drops the encodings of an object that were last used before an interval, and answers the bytes freed. A writer that
// was cut off before it read its own write has left more than that.
func (o *Object) sweep(before uint32) int {
	o.mu.Lock()
	o.written = nil
	o.mu.Unlock()
	return o.drop(func(e *encoding) bool { return e.unusedSince(before) })
}

func (e *encoding) unusedSince(before uint32) bool { return int32(e.lastUsed.Load()-before) < 0 }

// drop drops some of an object's encodings, and answers the bytes freed.
func (o *Object) drop(which func(*encoding) bool) int {
	return o.rework(func(e *encoding) *encoding {
		if which(e) {
			return nil
		}
		return e
	})
}

// rework puts something smaller, or nothing, in the place of encodings, and answers the bytes freed.
func (o *Object) rework(f func(*encoding) *encoding) int {
	if o.forms.Load() == nil {
		return 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	type outcome struct{ was, now *encoding }
	var room [8]outcome
	all := room[:0]
	freed := 0
	for e := o.forms.Load(); e != nil; e = e.next {
		all = append(all, outcome{e, f(e)})
		freed += e.size() - all[len(all)-1].now.size()
	}
	if freed == 0 {
		return 0
	}
	// Readers may be on the old list: it is not changed but copied.
	var kept *encoding
	for _, r := range all {
		if r.now == nil {
			continue
		}
		fresh := &encoding{form: r.now.form, bytes: r.now.bytes, packed: r.now.packed, cheap: r.now.cheap, next: kept}
		fresh.lastUsed.Store(r.was.lastUsed.Load())
		kept = fresh
	}
	o.forms.Store(kept)
	made.Add(int64(-freed))
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

// thin packs encodings of current objects that were not used since a sweep, and drops those that are cheap to make; or does
// the latter alone. It answers the bytes of those that are left, and of the cheap ones among them.
func (c *Cache) thin(since uint32, cheapOnly bool) (left, cheap int64) {
	c.state.Load().objects.all(func(o *Object) bool {
		if o.forms.Load() == nil {
			return true
		}
		o.rework(func(e *encoding) *encoding {
			switch {
			case !e.unusedSince(since):
			case e.cheap:
				return nil
			case !cheapOnly:
				return e.pack()
			}
			return e
		})
		for e := o.forms.Load(); e != nil; e = e.next {
			if left += int64(e.size()); e.cheap {
				cheap += int64(e.size())
			}
		}
		return true
	})
	return left, cheap
}

// allowed is how many bytes the encodings of a kind may take by the size of its objects.
func (c *Cache) allowed() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.ring.live / 2
}
