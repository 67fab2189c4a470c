package watchcache

import (
	"context"
	"errors"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// Uncached serves a kind from etcd: Events, of which there are many that nobody reads.
type Uncached struct {
	Resource
	hub *Hub
}

// Count implements Reader.
func (u *Uncached) Count() int { return -1 }

// Wrote, Acknowledged and CatchUp implement Reader: there is nothing to be behind with.
func (u *Uncached) Wrote(int64)                   {}
func (u *Uncached) Acknowledged() int64           { return 0 }
func (u *Uncached) CatchUp(context.Context) error { return nil }

// Prepare implements Reader.
func (u *Uncached) Prepare(key string, stored []byte, obj runtime.Object) *Prepared {
	return prepare(nil, &u.Resource, key, stored, obj, nil)
}

// Get implements Reader.
func (u *Uncached) Get(ctx context.Context, namespace, name string, fresh Fresh) (*Object, error) {
	kv, err := u.hub.cfg.Store.Get(ctx, keyOf(&u.Resource, namespace, name))
	if err != nil && kv.Err == nil {
		return nil, err
	}
	if fresh > 0 && kv.Revision < int64(fresh) {
		if now, err := u.hub.cfg.Store.Revision(ctx); err != nil || now < int64(fresh) {
			return nil, errors.Join(err, tooLarge(int64(fresh), now))
		}
	}
	o := objectOf(&u.Resource, &kv, nil)
	return o, o.Err()
}

// List implements Reader.
func (u *Uncached) List(ctx context.Context, opts ListOptions) (*List, error) {
	q, err := newQuery(&u.Resource, &opts)
	if err != nil {
		return nil, err
	}
	return listStored(ctx, u.hub.cfg.Store, &u.Resource, q)
}

// Watch implements Reader.
func (u *Uncached) Watch(ctx context.Context, opts WatchOptions) (Watcher, error) {
	b, err := beginning(&opts)
	if err != nil {
		return nil, err
	}
	w := &storedWatcher{r: &u.Resource, hub: u.hub, filter: filter{prefixOf(&u.Resource, opts.Namespace), &opts}, end: b.end,
		revision: b.revision, clock: clock{next: u.hub.now().Add(bookmarkEvery)}}
	if name, ok := exactField(opts.Fields, "metadata.name"); ok && opts.Name == "" {
		opts.Name = name
	}
	switch {
	case b.initial:
		var list *List
		list, err = u.List(ctx, ListOptions{Namespace: opts.Namespace, Name: opts.Name, Labels: opts.Labels, Fields: opts.Fields})
		if err == nil && list.Revision < b.revision {
			err = tooLarge(b.revision, list.Revision)
		}
		if err == nil {
			w.initial, w.revision = list.Items, list.Revision
		}
	case b.fresh:
		w.revision, err = u.hub.cfg.Store.Revision(ctx)
	}
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	w.failed = err
	return w, nil
}

// storedWatcher is a watch of its own in etcd.
type storedWatcher struct {
	r      *Resource
	hub    *Hub
	filter filter
	// initial are the objects still to be told of, end whether a bookmark follows.
	initial  []*Object
	end      bool
	revision int64
	stream   *storage.Stream
	clock    clock
	asked    bool // for progress, to make a bookmark of; again and again, as etcd does not answer while it catches up
	events   []Event
	failed   error
	ended    bool
}

// Close implements Watcher.
func (w *storedWatcher) Close() {
	w.ended = true
	if w.stream != nil {
		w.stream.Close()
	}
}

// Next implements Watcher.
func (w *storedWatcher) Next(ctx context.Context) ([]Event, error) {
	clear(w.events)
	w.events = w.events[:0]
	if w.ended {
		return nil, io.EOF
	}
	for w.failed == nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if w.tellInitial(); len(w.events) > 0 {
			return w.events, nil
		}
		if err := w.read(ctx); err != nil {
			return nil, err
		}
		if len(w.events) > 0 {
			return w.events, nil
		}
	}
	w.Close()
	w.events = append(w.events, errorEvent(w.failed))
	return w.events, nil
}

func (w *storedWatcher) tellInitial() {
	n := min(batch, len(w.initial))
	for _, o := range w.initial[:n] {
		w.events = append(w.events, Event{Type: "ADDED", Object: o})
	}
	w.initial = w.initial[n:]
	if len(w.initial) == 0 && w.end {
		w.end = false
		w.events = append(w.events, bookmark(w.r.Codec, w.revision, true))
	}
}

// read waits for the next batch of etcd, or for the time of a bookmark.
func (w *storedWatcher) read(ctx context.Context) error {
	if w.stream == nil {
		// The stream outlives this call; Close ends it.
		w.stream = w.hub.cfg.Store.Watch(context.WithoutCancel(ctx), w.filter.prefix, w.revision, true)
	}
	until, cancel := ctx, context.CancelFunc(func() {})
	switch {
	case w.asked:
		until, cancel = context.WithTimeout(ctx, askLeisure)
	case w.filter.opts.Bookmarks:
		until, cancel = context.WithTimeout(ctx, w.clock.due(ctx).Sub(w.hub.now()))
	}
	b, err := w.stream.Next(until)
	timeout := until.Err() != nil
	cancel()
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case timeout:
		return w.prepareBookmark(ctx)
	default:
		w.failed = err
		return nil
	}
	for i := range b.Changes {
		w.see(&b.Changes[i])
	}
	if len(b.Changes) == 0 && w.asked && b.Revision >= w.revision {
		w.asked = false
		w.events = append(w.events, bookmark(w.r.Codec, b.Revision, false))
	}
	return nil
}

// prepareBookmark asks etcd how far the stream has come, or answers itself if that is all there is.
func (w *storedWatcher) prepareBookmark(ctx context.Context) error {
	if !w.asked {
		w.asked = true
		w.clock.given(w.hub.now())
	}
	now, err := w.hub.cfg.Store.Revision(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return nil // no bookmark while etcd does not answer
	case now <= w.revision:
		w.asked = false
		w.events = append(w.events, bookmark(w.r.Codec, w.revision, false))
		return nil
	}
	w.failed = w.stream.Progress()
	return nil
}

func (w *storedWatcher) see(ch *storage.Change) {
	if !strings.HasPrefix(ch.Key, w.filter.prefix) {
		return
	}
	var before, object *Object
	if ch.Before != nil {
		before = objectOf(w.r, ch.Before, nil)
	}
	if !ch.Deleted {
		object = objectOf(w.r, &ch.KV, before)
	}
	if e, ok := w.filter.see(before, object, func() *Object { return before.as(ch.Revision) }); ok {
		w.events = append(w.events, e)
	}
	w.revision = ch.Revision
}
