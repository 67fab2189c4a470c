package storage

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// KV is a key with its value and where it stands in etcd's history. Value belongs to nobody and must not be changed.
type KV struct {
	Key   string
	Value []byte
	// Revision is that of the last change, Created that of the first.
	Revision, Created int64
	// Lease is the lease that will delete the key; 0 for none.
	Lease int64
	// Err, of class ErrTransform, says why Value is still what etcd holds: nobody here can decrypt it.
	Err error
}

// Transformer changes values on their way to etcd and back. It is safe for concurrent use.
type Transformer interface {
	// Applies says whether values of a key are changed at all.
	Applies(key string) bool
	// Seal makes what is stored. place is the key in etcd, to which the value may be bound.
	Seal(ctx context.Context, key, place string, plain []byte) ([]byte, error)
	// Open is the way back, and says whether Seal would make something else of the value today.
	Open(ctx context.Context, key, place string, sealed []byte) (plain []byte, stale bool, err error)
}

// Config of a Store. The zero value is right for most.
type Config struct {
	// Prefix is where the keys live in etcd. Callers always speak of "/registry/"; another prefix is translated here.
	// Default "/registry".
	Prefix string
	// Timeout ends a read or write that etcd does not answer. Default 10 s.
	Timeout time.Duration
	// Watches, if set, is the client whose connection carries watches, so that a long list does not delay them.
	// Default: the client of everything else.
	Watches *clientv3.Client
	// Transform, if set, encrypts what is stored.
	Transform Transformer
}

const registry = "/registry"

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = registry
	}
	c.Prefix = "/" + strings.Trim(c.Prefix, "/")
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

// Store reads and writes keys. It is safe for concurrent use.
type Store struct {
	client  *clientv3.Client
	watches *clientv3.Client
	cfg     Config
	leases  leases
	index   readIndex
	// compacted is the revision below which a Compactor knows history to be gone.
	compacted atomic.Int64
}

// New makes a Store on a client of an embedded or an external etcd. The client stays the caller's to close.
func New(client *clientv3.Client, cfg Config) *Store {
	s := &Store{client: client, watches: client, cfg: cfg.withDefaults()}
	if cfg.Watches != nil {
		s.watches = cfg.Watches
	}
	s.leases.store = s
	s.index.read = s.readRevision
	return s
}

// in is the key in etcd of a key that callers use; out is the way back.
func (s *Store) in(key string) string {
	if s.cfg.Prefix == registry {
		return key
	}
	return s.cfg.Prefix + strings.TrimPrefix(key, registry)
}

func (s *Store) out(key []byte) string {
	if s.cfg.Prefix == registry {
		return string(key)
	}
	return registry + strings.TrimPrefix(string(key), s.cfg.Prefix)
}

func (s *Store) kv(ctx context.Context, kv *mvccpb.KeyValue) KV {
	out := KV{Key: s.out(kv.Key), Value: kv.Value, Revision: kv.ModRevision, Created: kv.CreateRevision, Lease: kv.Lease}
	if s.cfg.Transform != nil && len(kv.Value) > 0 {
		plain, _, err := s.cfg.Transform.Open(ctx, out.Key, string(kv.Key), kv.Value)
		if err != nil {
			out.Err = transformError(err)
		} else {
			out.Value = plain
		}
	}
	return out
}

// seal is the value to store under a key.
func (s *Store) seal(ctx context.Context, key string, value []byte) ([]byte, error) {
	if s.cfg.Transform == nil {
		return value, nil
	}
	sealed, err := s.cfg.Transform.Seal(ctx, key, s.in(key), value)
	if err != nil {
		return nil, transformError(err)
	}
	return sealed, nil
}

// Stale says whether a key's value, as it is in etcd now, would be stored differently today: encrypted with another key.
// Then it shall be written even if nothing changes. It costs a read where values are encrypted, and nothing elsewhere.
func (s *Store) Stale(ctx context.Context, key string) (bool, error) {
	if s.cfg.Transform == nil || !s.cfg.Transform.Applies(key) {
		return false, nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	resp, err := s.client.Get(ctx, s.in(key))
	if err != nil {
		return false, classify(err, "get", key)
	}
	if len(resp.Kvs) == 0 {
		return false, nil
	}
	_, stale, err := s.cfg.Transform.Open(ctx, key, s.in(key), resp.Kvs[0].Value)
	if err != nil {
		return false, transformError(err)
	}
	return stale, nil
}

func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.cfg.Timeout)
}

// Get reads a key as fresh as the last acknowledged write. A value that cannot be decrypted is an error, and comes as it is.
func (s *Store) Get(ctx context.Context, key string) (KV, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	resp, err := s.client.Get(ctx, s.in(key))
	if err != nil {
		return KV{}, classify(err, "get", key)
	}
	if len(resp.Kvs) == 0 {
		return KV{}, fmt.Errorf("get %s: %w", key, ErrNotFound)
	}
	kv := s.kv(ctx, resp.Kvs[0])
	return kv, kv.Err
}

// Condition is what must be so at the moment of a write: the last change of another key has this revision.
type Condition struct {
	Key      string
	Revision int64
}

// Create writes a key that must not exist. With ttl > 0, in seconds, the key lives about that long. If a condition does not
// hold, and the key does not exist, the error is ErrMoved.
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl int64, conditions ...Condition) (int64, error) {
	resp, err := s.put(ctx, "create", key, 0, value, ttl, conditions...)
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		reason := ErrExists
		if len(conditions) > 0 && resp.Responses[0].GetResponseRange().Count == 0 {
			reason = ErrMoved
		}
		return 0, fmt.Errorf("create %s: %w", key, reason)
	}
	return resp.Header.Revision, nil
}

// Update replaces the value of a key whose last change has the expected revision; otherwise it answers a *Conflict.
func (s *Store) Update(ctx context.Context, key string, value []byte, expected, ttl int64) (int64, error) {
	resp, err := s.put(ctx, "update", key, expected, value, ttl)
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, s.conflict(ctx, key, resp)
	}
	return resp.Header.Revision, nil
}

// Delete removes a key whose last change has the expected revision; otherwise it answers a *Conflict. The revision it
// answers is that of the deletion.
func (s *Store) Delete(ctx context.Context, key string, expected int64) (int64, error) {
	at := s.in(key)
	resp, err := s.txn(ctx, "delete", []Condition{{key, expected}}, clientv3.OpDelete(at), clientv3.OpGet(at))
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, s.conflict(ctx, key, resp)
	}
	return resp.Header.Revision, nil
}

func (s *Store) put(ctx context.Context, doing, key string, expected int64, value []byte, ttl int64, conditions ...Condition) (*clientv3.TxnResponse, error) {
	at := s.in(key)
	value, err := s.seal(ctx, key, value)
	if err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		var opts []clientv3.OpOption
		var lease clientv3.LeaseID
		if ttl > 0 {
			var err error
			if lease, err = s.leases.get(ctx, ttl); err != nil {
				return nil, err
			}
			opts = append(opts, clientv3.WithLease(lease))
		}
		var otherwise []clientv3.Op
		switch {
		case expected > 0:
			otherwise = append(otherwise, clientv3.OpGet(at))
		case len(conditions) > 0:
			otherwise = append(otherwise, clientv3.OpGet(at, clientv3.WithCountOnly()))
		}
		put := clientv3.OpPut(at, "", opts...)
		put.WithValueBytes(value) // as a string it would be copied twice
		resp, err := s.txn(ctx, doing, append(conditions, Condition{key, expected}), put, otherwise...)
		// A lease may end between its choice and its use, by a clock that stood still, say. Nothing was written then.
		if lease != 0 && attempt == 0 && isLeaseGone(err) {
			s.leases.forget(lease)
			continue
		}
		return resp, err
	}
}

// txn does one thing if all conditions hold, and others if not. The last condition is about the key that it is for.
func (s *Store) txn(ctx context.Context, doing string, conditions []Condition, then clientv3.Op, otherwise ...clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	cmps := make([]clientv3.Cmp, len(conditions))
	for i, c := range conditions {
		// What clientv3.Compare does, without a copy by reflection.
		cmps[i] = clientv3.ModRevision(s.in(c.Key))
		compare := cmps[i].GetCompare()
		compare.Result, compare.TargetUnion = pb.Compare_EQUAL, &pb.Compare_ModRevision{ModRevision: c.Revision}
	}
	resp, err := s.client.Txn(ctx).If(cmps...).Then(then).Else(otherwise...).Commit()
	return resp, classify(err, doing, conditions[len(conditions)-1].Key)
}

func (s *Store) conflict(ctx context.Context, key string, resp *clientv3.TxnResponse) *Conflict {
	e := &Conflict{Key: key}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		kv := s.kv(ctx, kvs[0])
		e.Current = &kv
	}
	return e
}

// Page is a part of the keys below a prefix, in order.
type Page struct {
	KVs []KV
	// More says that keys follow; Count is how many there are from the page's first on, the page's own included.
	More  bool
	Count int64
	// Revision is the one at which the page was read.
	Revision int64
}

// Page reads the keys below prefix from the key from (or, empty, from the first) on: at most limit of them (0: all), as
// they were at a revision (0: now, fresh).
func (s *Store) Page(ctx context.Context, prefix, from string, limit, revision int64) (Page, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if from == "" {
		from = prefix
	}
	opts := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.in(prefix))), clientv3.WithLimit(limit)}
	if revision > 0 {
		opts = append(opts, clientv3.WithRev(revision))
	}
	resp, err := s.client.Get(ctx, s.in(from), opts...)
	if err != nil {
		return Page{}, classify(err, "list", prefix)
	}
	page := Page{KVs: make([]KV, len(resp.Kvs)), More: resp.More, Count: resp.Count, Revision: revision}
	if revision == 0 {
		page.Revision = resp.Header.Revision
	}
	for i, kv := range resp.Kvs {
		page.KVs[i] = s.kv(ctx, kv)
	}
	return page, nil
}
