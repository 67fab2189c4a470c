package storage

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// CompactInterval is how often old revisions are dropped: history is kept for one to two intervals.
const CompactInterval = 5 * time.Minute

// compactKey is upstream's: outside every prefix, and common to all that share the etcd.
const compactKey = "compact_rev_key"

// Compactor drops old revisions, in agreement with the other API servers of the same etcd.
//
// The version of compactKey counts compactions and is the clock that they share; its value is the revision of the last
// one. Whoever finds the clock where it last saw it moves it on and compacts to the revision that was current then. The
// others find the clock moved, take note, and try an interval later. So one compaction happens an interval, whoever is
// alive, and nothing younger than an interval is ever dropped.
type Compactor struct {
	store    *Store
	interval time.Duration
	log      *slog.Logger

	// clock and revision are what was seen at the last tick.
	clock, revision int64
}

// NewCompactor makes a compactor. interval 0 means CompactInterval.
func NewCompactor(store *Store, interval time.Duration, log *slog.Logger) *Compactor {
	if interval == 0 {
		interval = CompactInterval
	}
	if log == nil {
		log = slog.Default()
	}
	return &Compactor{store: store, interval: interval, log: log}
}

// Compacted is the revision below which history is gone, as far as a running Compactor of this Store knows: by its own
// compactions and by those of others.
func (s *Store) Compacted() int64 { return s.compacted.Load() }

func (s *Store) sawCompaction(value []byte) {
	to, err := strconv.ParseInt(string(value), 10, 64)
	for err == nil {
		was := s.compacted.Load()
		if to <= was || s.compacted.CompareAndSwap(was, to) {
			return
		}
	}
}

// follow learns of other servers' compactions as they happen.
func (c *Compactor) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if resp, err := c.store.client.Get(ctx, compactKey); err == nil {
			for _, kv := range resp.Kvs {
				c.store.sawCompaction(kv.Value)
			}
			for resp := range c.store.watches.Watch(ctx, compactKey, clientv3.WithRev(resp.Header.Revision+1)) {
				for _, e := range resp.Events {
					c.store.sawCompaction(e.Kv.Value)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// Run compacts until ctx ends.
func (c *Compactor) Run(ctx context.Context) error {
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() { c.follow(ctx) })
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if to, err := c.tick(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("compaction failed; it is tried again", "in", c.interval, "err", err)
		} else if to > 0 {
			c.log.Debug("compacted", "revision", to)
		}
	}
}

// tick moves the clock on, if it is this server's turn, and answers the revision compacted to.
func (c *Compactor) tick(ctx context.Context) (int64, error) {
	ctx, cancel := c.store.bounded(ctx)
	defer cancel()
	client := c.store.client
	resp, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(compactKey), "=", c.clock)).
		Then(clientv3.OpPut(compactKey, strconv.FormatInt(c.revision, 10))).
		Else(clientv3.OpGet(compactKey)).
		Commit()
	if err != nil {
		return 0, classify(err, "write", compactKey)
	}
	to := c.revision
	c.revision = resp.Header.Revision
	if !resp.Succeeded {
		c.clock = 0
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			c.clock = kvs[0].Version
		}
		return 0, nil
	}
	c.clock++
	if to == 0 {
		return 0, nil // the first tick only learns the revision
	}
	if _, err := client.Compact(ctx, to); err != nil {
		return 0, fmt.Errorf("to revision %d: %w", to, classify(err, "compact", "etcd"))
	}
	return to, nil
}
