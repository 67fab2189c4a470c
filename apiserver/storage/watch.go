package storage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// Change is what happened to one key at one revision.
type Change struct {
	// KV is the key after the change. Of a deleted key only Key and Revision, the deletion's, are set.
	KV
	Deleted bool
	// Before is the key before the change, if the stream was asked for it and there was one.
	Before *KV
}

// Batch is what a stream says at a time: changes in order, whole revisions, and how far the stream has come.
type Batch struct {
	Changes []Change
	// Revision is one below or at which no further changes come.
	Revision int64
}

// Stream follows the changes below a prefix. It is used by one goroutine; Progress may be called by others.
type Stream struct {
	store  *Store
	ctx    context.Context
	cancel context.CancelFunc
	ch     clientv3.WatchChan
}

var streams atomic.Int64

// Watch follows the changes below prefix after a revision. before asks for what the keys were before.
func (s *Store) Watch(ctx context.Context, prefix string, after int64, before bool) *Stream {
	// Watches whose metadata are equal share one gRPC stream, and a stream tells of progress only when all of its watches
	// have caught up. So each gets its own. A member cut off from its leader ends the watch instead of falling silent.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(metadata.AppendToOutgoingContext(ctx,
		"skiff-watch", strconv.FormatInt(streams.Add(1), 10))))
	opts := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(after + 1), clientv3.WithProgressNotify()}
	if before {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return &Stream{store: s, ctx: ctx, cancel: cancel, ch: s.watches.Watch(ctx, s.in(prefix), opts...)}
}

// Next waits for news; when ctx ends first, nothing is lost and it may be called again. After any other error the stream is
// at its end: ErrCompacted means that changes after the given revision are lost; else the caller may watch again from where
// it stands.
func (w *Stream) Next(ctx context.Context) (Batch, error) {
	for {
		var resp clientv3.WatchResponse
		var ok bool
		select {
		case resp, ok = <-w.ch:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
		if !ok {
			if err := w.ctx.Err(); err != nil {
				return Batch{}, err
			}
			return Batch{}, fmt.Errorf("watch: %w: the stream ended", ErrUnavailable)
		}
		if err := resp.Err(); err != nil {
			return Batch{}, classify(err, "watch", "etcd")
		}
		if resp.Created {
			continue // its revision is etcd's, not how far this watch has come
		}
		batch := Batch{Revision: resp.Header.Revision}
		if n := len(resp.Events); n > 0 {
			// The header may be ahead of the last event while a watch is catching up.
			batch.Revision = resp.Events[n-1].Kv.ModRevision
			batch.Changes = make([]Change, n)
		}
		for i, e := range resp.Events {
			c := &batch.Changes[i]
			c.KV = w.store.kv(w.ctx, e.Kv)
			c.Deleted = e.Type == clientv3.EventTypeDelete
			if e.PrevKv != nil {
				prev := w.store.kv(w.ctx, e.PrevKv)
				c.Before = &prev
			}
		}
		return batch, nil
	}
}

// Progress asks for a Batch that tells how far the stream has come, even when nothing changes below its prefix.
func (w *Stream) Progress() error {
	if err := w.store.watches.RequestProgress(w.ctx); err != nil && !errors.Is(err, context.Canceled) {
		return classify(err, "ask for progress of", "a watch")
	}
	return nil
}

// Close ends the stream.
func (w *Stream) Close() { w.cancel() }
