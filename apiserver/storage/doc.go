// Package storage keeps objects in etcd: keys and bytes, revisions, compare-and-swap, leases and compaction. It knows
// nothing of kinds, formats or namespaces; package kinds makes the keys, package wire the bytes.
//
// # Revisions
//
// etcd counts every transaction of the whole cluster with one number, the revision. It is what the API calls
// resourceVersion. Create, Update and Delete compare the revision of the last change of one key and answer the revision
// of their own change; a comparison that fails answers a *Conflict, which carries what is there instead.
//
// # Fresh reads
//
// Revision is the read index that makes the watch cache honest: the number that no write acknowledged so far, through
// whatever API server, lies above. It costs one linearizable read of nothing, shared by all that wait at that moment. A
// caller that arrives while a read is under way waits for the next one, since the one under way may have passed the
// point where it would have seen the caller's write.
//
// # Living together
//
// Several API servers, upstream's among them, may share one etcd. Keys and values are theirs too (package kinds), and so
// is the agreement about compaction (Compactor): the key compact_rev_key, whose version is the clock.
//
// # Errors
//
// Every error is of a class that says what the caller should do: ErrNotFound, ErrExists, *Conflict, ErrCompacted,
// ErrFuture, ErrTooLarge, and for an etcd that does not answer ErrTimeout (a write may or may not have happened) and
// ErrUnavailable (it has not happened).
package storage
