// Package follow keeps something inside the API server up to date with the objects of a kind: the roles that the
// authorizer knows, say. It is an informer without the copies: the objects are the watch cache's own.
package follow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Follower is told about all objects of a kind. Calls come one at a time. Objects are shared: nobody may change them.
type Follower struct {
	// Replace is given everything that can be read, at the start and whenever events were lost.
	Replace func(all []runtime.Object)
	// Apply is given one change: deleted says that obj is gone.
	Apply func(obj runtime.Object, deleted bool)
	// Progress, if set, is moved on once Replace or Apply has returned.
	Progress *Progress
}

// Progress is the revision up to which a follower has been told everything. The zero value is ready for use.
type Progress struct {
	revision atomic.Int64
	mu       sync.Mutex
	moved    chan struct{} // nil if nobody waits
}

// Reached says whether everything up to a revision has been told.
func (p *Progress) Reached(revision int64) bool { return p.revision.Load() >= revision }

// Wait returns once everything up to a revision has been told, or with ctx's error.
func (p *Progress) Wait(ctx context.Context, revision int64) error {
	for !p.Reached(revision) {
		p.mu.Lock()
		if p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		if p.Reached(revision) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// set may also go back: a store that was restored begins anew at a lower revision.
func (p *Progress) set(revision int64) {
	if p == nil {
		return
	}
	p.revision.Store(revision)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

const retry = 200 * time.Millisecond

// Run follows until ctx ends. Replace has been called once synced is closed; synced may be nil.
func (f Follower) Run(ctx context.Context, reader watchcache.Reader, synced chan<- struct{}) {
	for ctx.Err() == nil {
		err := f.once(ctx, reader, func() {
			if synced != nil {
				close(synced)
				synced = nil
			}
		})
		if ctx.Err() != nil {
			return
		}
		slog.Debug("watch inside the API server begins anew", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

// once ends with the watch. The initial events arrive first, and a bookmark after the last of them.
func (f Follower) once(ctx context.Context, reader watchcache.Reader, synced func()) error {
	yes := true
	w, err := reader.Watch(ctx, watchcache.WatchOptions{SendInitialEvents: &yes, Bookmarks: true, Match: metav1.ResourceVersionMatchNotOlderThan})
	if err != nil {
		return err
	}
	defer w.Close()
	var initial []runtime.Object
	complete := false
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			switch e.Type {
			case watch.Error:
				return errors.New(e.Status.Message)
			case watch.Bookmark:
				if !complete {
					complete = true
					f.Replace(initial)
					initial = nil
					synced()
				}
				f.Progress.set(e.Object.Revision)
				continue
			}
			obj, err := e.Object.Shared()
			if err != nil && !complete {
				// One value that cannot be read must not hide all others. Should it be readable one day, the watch begins anew.
				slog.Warn("left out inside the API server", "key", e.Object.Key, "err", err)
				continue
			}
			if err != nil {
				return err
			}
			if !complete {
				initial = append(initial, obj)
				continue
			}
			f.Apply(obj, e.Type == watch.Deleted)
			f.Progress.set(e.Object.Revision)
		}
	}
}
