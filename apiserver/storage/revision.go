package storage

import (
	"context"
	"runtime"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Revision is one that no write acknowledged so far, through any API server, lies above. See the package's comment.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	return s.index.get(ctx)
}

func (s *Store) readRevision(ctx context.Context) (int64, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	// Only the header matters. A key that exists would cost etcd a look into its database.
	resp, err := s.client.Get(ctx, s.in(registry+"/.read-index"), clientv3.WithCountOnly())
	if err != nil {
		return 0, classify(err, "read", "the revision")
	}
	return resp.Header.Revision, nil
}

// readIndex lets any number of callers share reads: one is under way, and all that arrive meanwhile share the next.
type readIndex struct {
	read func(ctx context.Context) (int64, error)

	mu      sync.Mutex
	running bool
	next    *indexBatch
}

type indexBatch struct {
	done     chan struct{}
	revision int64
	err      error
}

func (r *readIndex) get(ctx context.Context) (int64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &indexBatch{done: make(chan struct{})}
	}
	batch := r.next
	if !r.running {
		r.running = true
		// Not the caller's context: others share the outcome. The read bounds itself.
		go r.run()
	}
	r.mu.Unlock()
	select {
	case <-batch.done:
		return batch.revision, batch.err
	case <-ctx.Done():
		return 0, classify(ctx.Err(), "read", "the revision")
	}
}

// run reads as long as somebody waits.
func (r *readIndex) run() {
	for {
		// On a busy machine the requests that have come in but not got so far share this read, too: what is runnable runs
		// first. On an idle one nothing is, and this takes no time.
		runtime.Gosched()
		r.mu.Lock()
		batch := r.next
		r.next = nil
		if batch == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		batch.revision, batch.err = r.read(context.Background())
		close(batch.done)
	}
}
