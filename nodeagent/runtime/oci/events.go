package oci

import (
	"context"
	"sync"

	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// events tells subscribers what happened. One that does not keep up gets a single Missed in place of what was lost.
type events struct {
	mu          sync.Mutex
	subscribers map[chan runtime.Event]bool // true: something was lost
}

const backlog = 1024

// Events implements runtime.Runtime.
func (r *Runtime) Events(ctx context.Context) <-chan runtime.Event {
	ch := make(chan runtime.Event, backlog)
	e := &r.events
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.subscribers == nil {
		e.subscribers = map[chan runtime.Event]bool{}
	}
	e.subscribers[ch] = false
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.subscribers, ch)
		close(ch)
	})
	return ch
}

func (e *events) publish(event runtime.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ch, lost := range e.subscribers {
		// The last place is kept for Missed, so that the loss itself is never lost.
		if len(ch) < backlog-1 {
			if lost {
				ch <- runtime.Event{Kind: runtime.Missed}
				e.subscribers[ch] = false
			}
			if len(ch) < backlog-1 {
				ch <- event
				continue
			}
		}
		if !e.subscribers[ch] && len(ch) < backlog {
			ch <- runtime.Event{Kind: runtime.Missed}
		}
		e.subscribers[ch] = true
	}
}
