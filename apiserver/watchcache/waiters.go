package watchcache

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// waiters are reads that wait for the hub to reach a revision.
type waiters struct {
	// least is the lowest revision waited for, so that a hub with nobody to wake need not lock.
	least atomic.Int64
	mu    sync.Mutex
	all   []waiter
	// asked is signalled when somebody begins to wait.
	asked chan struct{}
}

type waiter struct {
	revision int64
	done     chan struct{}
}

func (w *waiters) wait(ctx context.Context, h *Hub, revision int64) error {
	if h.revision.Load() >= revision {
		return nil
	}
	done := make(chan struct{})
	w.mu.Lock()
	w.all = append(w.all, waiter{revision, done})
	w.setLeast()
	w.mu.Unlock()
	// The hub may have moved on before it could see this waiter.
	w.reached(h.revision.Load())
	select {
	case w.asked <- struct{}{}:
	default:
	}
	var err error
	select {
	case <-done:
		return nil
	case <-h.stopped:
		err = errStopped
	case <-ctx.Done():
		err = fmt.Errorf("wait for revision %d: %w", revision, waitError(ctx))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.all {
		if w.all[i].done == done {
			w.all = append(w.all[:i], w.all[i+1:]...)
			w.setLeast()
			return err
		}
	}
	return nil // it was reached at the same time
}

func (w *waiters) setLeast() {
	least := int64(math.MaxInt64)
	for i := range w.all {
		least = min(least, w.all[i].revision)
	}
	w.least.Store(least)
}

func (w *waiters) reached(revision int64) {
	if least := w.least.Load(); least == 0 || least > revision {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.all[:0]
	for _, one := range w.all {
		if one.revision <= revision {
			close(one.done)
		} else {
			left = append(left, one)
		}
	}
	clear(w.all[len(left):])
	w.all = left
	w.setLeast()
}

func (w *waiters) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all) > 0
}

// Revisions of keys that no watch of ours sees (compact_rev_key, another program's on a shared etcd) leave a gap behind
// the last change. A read that waits longer than news take asks etcd how far the watch has come.
const (
	newsTake = 5 * time.Millisecond
	// askLeisure is how long the pauses become for those who go on waiting: for a revision that is still to happen, say.
	askLeisure = 500 * time.Millisecond
)

func (h *Hub) askProgress(ctx context.Context, stream *storage.Stream) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.waiters.asked:
		}
		pause, next := newsTake, time.Now().Add(newsTake)
		for h.waiters.waiting() {
			timer.Reset(time.Until(next))
			select {
			case <-ctx.Done():
				return
			case <-h.waiters.asked:
				// A newcomer is not to wait as long as those who have for some time.
				if soon := time.Now().Add(newsTake); soon.Before(next) {
					pause, next = newsTake, soon
				}
			case <-timer.C:
				if !h.waiters.waiting() {
					break
				}
				if stream.Progress() != nil {
					return // the stream is broken, which its reader learns, too
				}
				pause = min(2*pause, askLeisure)
				next = time.Now().Add(pause)
			}
		}
	}
}
