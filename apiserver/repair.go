package apiserver

import (
	"context"
	"time"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/core/alloc"
)

// repairEvery is upstream's interval.
const repairEvery = 3 * time.Minute

// repairer gives back, now and then, the addresses and ports of Services that were never written.
func (s *Server) repairer(store kinds.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		var unused map[int]bool
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(repairEvery):
			}
			next, err := alloc.Repair(ctx, store, s.ranges.addresses, s.ranges.ports, time.Now(), unused)
			if err != nil && ctx.Err() == nil {
				s.log.Warn("addresses and ports of Services not checked", "err", err)
			}
			unused = next
		}
	}
}
