// Package watchcache keeps the objects of every kind as encoded bytes and fans etcd's changes out to many clients.
//
// # Bytes first
//
// An Object is one revision of one object: its key, revision, labels, selectable fields and the value stored in etcd, plus
// its bytes in each Form (version, serialization, shape) that somebody has asked for. They are made on first demand, once,
// and shared by every GET, LIST and WATCH; a form that nobody has used for a minute is dropped. Decoded objects are not
// kept: the garbage collector takes them when it next comes by, which is late enough for the watchers of a change and
// early enough to keep the heap at the size of the bytes.
//
// # State and events
//
// A Hub follows etcd by one watch below /registry/ and gives each change to the Cache of its kind. A Cache is
//
//	state   all objects in the order of their keys, in a tree that never changes (tree.go); a change makes another one that
//	        shares all but one path. Readers load a pointer. Lists, however long, block nobody.
//	ring    the latest events: the object before and after each (ring.go), bounded by number, bytes and age.
//	scopes  for each name, namespace or indexed field value that somebody watches, the numbers of its events in the ring
//	        (scope.go). A watcher is a place in a scope and a filter. It is woken for its scope alone.
//
// Next hands out what is there, up to 128 events, and holds nothing else: a slow client costs no memory, and when the ring
// has moved past its place it is told 410 and lists again.
//
// # Fresh reads
//
// Every read, resourceVersion=0 among them, is as fresh as the last write that any API server on this etcd has
// acknowledged. It takes a revision from storage's batched read index and waits until the hub has come that far, which is
// nearly always the case already. When revisions pass that change nothing below /registry/, the hub asks etcd for progress.
// Without a quorum there is no read index, and reads fail.
//
// # The past
//
// Lists at an exact revision, and the later pages of a list, are served from the state in which the first page was served,
// or from the current state with the ring's events taken back, or by etcd, in this order (snapshots.go, stored.go). What etcd
// has compacted is refused even where it is still at hand, so that servers do not differ.
//
// # Gaps
//
// When the hub's watch cannot be taken up where it stopped, because etcd has compacted past it or was restored from a
// backup, nobody can say what happened in between. Then all kinds are loaded anew, and every watcher gets 410.
//
// # Writers
//
// The registry announces what it is about to write (Reader.Prepare). etcd's news of it, recognized by the stored bytes, then
// costs the hub next to nothing, and the writer's answer is the very Object that readers get. Its bytes are made from the
// stored value, not from the object that the writer held, so that every server serves the same.
//
// Kinds that are not worth memory (Events) are served by Uncached: the same interface, straight from etcd.
package watchcache
