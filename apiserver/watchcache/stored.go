package watchcache

import (
	"context"
	"errors"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// A page read from etcd for a selective query holds what is not wanted, too; so the next is larger, up to a bound.
const (
	storedPage     = 500
	storedPageMost = 10_000
)

// listStored lists from etcd: kinds that are not cached, and revisions that the cache does not know.
func listStored(ctx context.Context, store *storage.Store, r *Resource, q *query) (*List, error) {
	p := &page{q: q}
	revision, from, size := q.exact, q.start(), int64(storedPage)
	if q.limit > 0 {
		size = q.limit + 1
	}
	var rest int64
	for {
		got, err := store.Page(ctx, q.prefix, from, size, revision)
		switch {
		case errors.Is(err, storage.ErrCompacted):
			return nil, expired(q)
		case errors.Is(err, storage.ErrFuture):
			current, _ := store.Revision(ctx)
			return nil, tooLarge(revision, current)
		case err != nil:
			return nil, err
		}
		if revision == 0 && got.Revision < q.atLeast {
			return nil, tooLarge(q.atLeast, got.Revision)
		}
		revision = got.Revision
		before := len(p.items)
		for i := range got.KVs {
			if !p.add(objectOf(r, &got.KVs[i], nil)) {
				break
			}
		}
		if p.err != nil {
			return nil, p.err
		}
		if !q.selective() {
			rest = got.Count - int64(len(p.items)-before)
		}
		if p.more || !got.More {
			break
		}
		from = got.KVs[len(got.KVs)-1].Key + "\x00"
		size = min(2*size, storedPageMost)
	}
	l := &List{Items: p.items, Revision: revision}
	if p.more {
		l.Continue = encodeToken(p.next(), q.prefix, revision)
		if !q.selective() {
			l.Remaining = &rest
		}
	}
	return l, nil
}
