// Package follow keeps something inside the API server up to date with the objects of a kind: the roles that the
// authorizer knows, say. It is an informer without the copies: the objects are the watch cache's own.
package follow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Follower is told about all objects of a kind. Calls come one at a time. Objects are shared: nobody may change them.
type Follower struct {
	// Replace is given everything, at the start and whenever events were lost.
	Replace func(all []runtime.Object)
	// Apply is given one change: deleted says that obj is gone.
	Apply func(obj runtime.Object, deleted bool)
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
				continue
			}
			obj, err := e.Object.Shared()
			if err != nil {
				return err
			}
			if !complete {
				initial = append(initial, obj)
				continue
			}
			f.Apply(obj, e.Type == watch.Deleted)
		}
	}
}
