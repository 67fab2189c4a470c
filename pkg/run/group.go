package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Group is a list of parts that live and die together. The zero value is ready for use. A part that was added later may
// rely on all earlier ones: it is started after them and stopped before them.
type Group struct {
	// Grace is how long a part may take to stop before Run leaves it behind; 10 seconds when zero.
	Grace time.Duration

	parts []part
}

type part struct {
	name string
	run  func(ctx context.Context) error
}

// Add appends a part. Its run is called once, from its own goroutine, and must return soon after its context has ended.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.parts = append(g.parts, part{name, run})
}

// ended says that a part has returned.
type ended struct {
	name string
	err  error
}

// Run starts all parts, waits until ctx ends or the first part returns, then stops the others, the last one first. It
// answers nil only if ctx has ended and every part has stopped without an error of its own.
func (g *Group) Run(ctx context.Context) error {
	first := make(chan ended, len(g.parts))
	type running struct {
		name string
		stop context.CancelFunc
		done chan struct{}
		err  error
	}
	started := make([]*running, 0, len(g.parts))
	for _, p := range g.parts {
		// Parts do not see the end of ctx itself: they would all stop at once, in no order.
		partCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{name: p.name, stop: stop, done: make(chan struct{})}
		started = append(started, r)
		go func() {
			defer close(r.done)
			r.err = Protect(partCtx, p.run)
			first <- ended{p.name, r.err}
		}()
	}

	var reason error
	select {
	case <-ctx.Done():
	case e := <-first:
		switch {
		case e.err != nil:
			reason = fmt.Errorf("%s: %w", e.name, e.err)
		case ctx.Err() == nil:
			reason = fmt.Errorf("%s ended without being asked to", e.name)
		}
	}

	grace := g.Grace
	if grace == 0 {
		grace = 10 * time.Second
	}
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		r.stop()
		select {
		case <-r.done:
			if r.err != nil && reason == nil && !errors.Is(r.err, context.Canceled) {
				reason = fmt.Errorf("%s: %w", r.name, r.err)
			}
		case <-time.After(grace):
			slog.Warn("part did not stop in time", "part", r.name, "grace", grace)
			if reason == nil {
				reason = fmt.Errorf("%s did not stop within %s", r.name, grace)
			}
		}
	}
	return reason
}

// Protect calls f and turns a panic into an error that carries its stack, so that the process can end in order.
func Protect(ctx context.Context, f func(ctx context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f(ctx)
}

// Workers is a set of goroutines that shutdown waits on. The zero value is ready for use.
type Workers struct{ wg sync.WaitGroup }

// Go starts f on its own goroutine.
func (w *Workers) Go(f func()) { w.wg.Go(f) }

// Wait returns when every goroutine started by Go has ended.
func (w *Workers) Wait() { w.wg.Wait() }
