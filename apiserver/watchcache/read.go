package watchcache

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// Get implements Reader.
func (c *Cache) Get(ctx context.Context, namespace, name string, fresh Fresh) (*Object, error) {
	if err := c.hub.fresh(ctx, c, fresh); err != nil {
		return nil, err
	}
	key := keyOf(&c.Resource, namespace, name)
	o := c.state.Load().objects.at(byKey(key))
	if o == nil {
		return nil, fmt.Errorf("%s: %w", key, storage.ErrNotFound)
	}
	return o, o.Err()
}

// List implements Reader.
func (c *Cache) List(ctx context.Context, opts ListOptions) (*List, error) {
	q, err := newQuery(&c.Resource, &opts)
	if err != nil {
		return nil, err
	}
	fresh := Fresh(q.atLeast)
	if opts.Cached {
		fresh = Cached
	}
	if err := c.hub.fresh(ctx, c, fresh); err != nil {
		return nil, err
	}
	if q.exact == 0 {
		s, revision := c.view()
		return c.listAt(s, revision, q)
	}
	s, err := c.stateAt(q)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return listStored(ctx, c.hub.cfg.Store, &c.Resource, q)
	}
	return c.listAt(s, q.exact, q)
}

// listAt lists a state that is true at a revision.
func (c *Cache) listAt(s *state, revision int64, q *query) (*List, error) {
	p := &page{q: q}
	if !q.selective() {
		p.items = make([]*Object, 0, s.size(q))
	}
	c.visit(s, q.prefix, q.start(), q.name, q.fields, p.add)
	if p.err != nil {
		return nil, p.err
	}
	l := &List{Items: p.items, Revision: revision}
	if p.more {
		l.Continue = encodeToken(p.next(), q.prefix, revision)
		c.snapshots.keep(revision, s, c.hub.now())
		if !q.selective() {
			rest := int64(s.objects.rank(byKey(endOf(q.prefix))) - s.objects.rank(byKey(p.next())))
			l.Remaining = &rest
		}
	}
	return l, nil
}

// size is how many objects an unselective query will list.
func (s *state) size(q *query) int {
	n := s.objects.rank(byKey(endOf(q.prefix))) - s.objects.rank(byKey(q.start()))
	if q.limit > 0 {
		n = min(n, int(q.limit))
	}
	return max(n, 0)
}

// visit calls yield for the objects of a state below a prefix, from a key on, in the order of keys, until it returns false.
// Where a name or an indexed field is asked for, it passes over the objects that have another; the rest is yield's to check.
func (c *Cache) visit(s *state, prefix, from, name string, wanted fields.Selector, yield func(*Object) bool) {
	if name != "" && (!c.Namespaced || prefix != c.Prefix) {
		if o := s.objects.at(byKey(prefix + name)); o != nil && o.Key >= from {
			yield(o)
		}
		return
	}
	for i, field := range c.Indexed {
		if value, ok := exactField(wanted, field); ok {
			s.indexes[i].from(byField(field, value, from), func(o *Object) bool {
				return o.Fields.Get(field) == value && strings.HasPrefix(o.Key, prefix) && yield(o)
			})
			return
		}
	}
	s.objects.from(byKey(from), func(o *Object) bool { return strings.HasPrefix(o.Key, prefix) && yield(o) })
}
