package storage

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Events are many and short-lived, and a lease costs etcd as much as a write. So keys written within a while share one:
// their lives end together, at most this much later than asked for.
const (
	leaseSharedFor     = 60 * time.Second
	leaseSharedPortion = 0.05 // of the time to live, where that is shorter
	// leaseKeys bounds what etcd has to delete in one go when a lease ends.
	leaseKeys = 1000
)

// leases hands out leases by time to live.
type leases struct {
	store *Store
	mu    sync.Mutex
	open  map[int64]*lease
}

type lease struct {
	mu    sync.Mutex
	id    clientv3.LeaseID
	ends  time.Time
	count int
}

// get is a lease that lives at least ttl seconds.
func (l *leases) get(ctx context.Context, ttl int64) (clientv3.LeaseID, error) {
	l.mu.Lock()
	if l.open == nil {
		l.open = map[int64]*lease{}
	}
	shared := l.open[ttl]
	if shared == nil {
		shared = &lease{}
		l.open[ttl] = shared
	}
	l.mu.Unlock()

	// Granting under the lease's own lock makes those wait that need the same lease, and nobody else.
	shared.mu.Lock()
	defer shared.mu.Unlock()
	now := time.Now()
	life := time.Duration(ttl) * time.Second
	if shared.id != 0 && shared.count < leaseKeys && !now.Add(life).After(shared.ends) {
		shared.count++
		return shared.id, nil
	}
	reuse := min(leaseSharedFor, time.Duration(float64(life)*leaseSharedPortion)).Truncate(time.Second)
	ctx, cancel := l.store.bounded(ctx)
	defer cancel()
	granted, err := l.store.client.Grant(ctx, ttl+int64(reuse/time.Second))
	if err != nil {
		return 0, classify(err, "grant", "a lease")
	}
	// etcd counts from when it granted, which is after now: the key never dies early.
	shared.id, shared.ends, shared.count = granted.ID, now.Add(life+reuse), 1
	return shared.id, nil
}

// forget drops a lease that etcd no longer knows.
func (l *leases) forget(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ttl, shared := range l.open {
		shared.mu.Lock()
		if shared.id == id {
			delete(l.open, ttl)
		}
		shared.mu.Unlock()
	}
}

func isLeaseGone(err error) bool {
	return err != nil && errors.Is(rpctypes.Error(errors.Unwrap(err)), rpctypes.ErrLeaseNotFound)
}
