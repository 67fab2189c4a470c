package control

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"
)

// Writes remembers, for each key of a controller, how far the caches must have come before that key may be reconciled
// again: to the resource version of what its last reconcile wrote. A controller that counts what it owns would otherwise
// count the state before its own writes and write them twice. Unlike counted expectations this needs no time-out: the
// watch that feeds a cache always gets there.
type Writes struct {
	mu   sync.Mutex
	keys map[string]*written
}

type written struct {
	stores  map[cache.Store]string // the version each store must have reached
	deleted map[types.UID]bool     // objects that the key's owner has deleted; see Deleted
}

// catchUp is how soon to look again at a cache that is behind. Usually the event that it waits for comes earlier and wakes
// the key by itself.
const catchUp = 20 * time.Millisecond

// Wrote notes that the reconcile of key wrote object, which store will show.
func (w *Writes) Wrote(key string, store cache.Store, object metav1.Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(key)
	if e.stores == nil {
		e.stores = map[cache.Store]string{}
	}
	version := object.GetResourceVersion()
	if newer(version, e.stores[store]) {
		e.stores[store] = version
	}
}

// Deleted notes that the reconcile of key has deleted the object with uid. The answer to a delete does not always carry
// a version to wait for; Gone hides the object from later counts instead, which is right forever: no UID comes back.
func (w *Writes) Deleted(key string, uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entry(key)
	if e.deleted == nil {
		e.deleted = map[types.UID]bool{}
	}
	e.deleted[uid] = true
}

// Gone says whether the reconcile of key has already deleted the object with uid.
func (w *Writes) Gone(key string, uid types.UID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.keys[key]
	return e != nil && e.deleted[uid]
}

// Retain forgets the deleted objects that are not among those still seen in the cache.
func (w *Writes) Retain(key string, seen func(types.UID) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.keys[key]
	if e == nil {
		return
	}
	for uid := range e.deleted {
		if !seen(uid) {
			delete(e.deleted, uid)
		}
	}
	w.tidy(key, e)
}

// Behind answers nil if all stores show what the last reconcile of key wrote, and else how soon to try again, as an error
// that the reconcile hands on.
func (w *Writes) Behind(key string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.keys[key]
	if e == nil {
		return nil
	}
	for store, version := range e.stores {
		if newer(version, store.LastStoreSyncResourceVersion()) {
			return Again(catchUp)
		}
		delete(e.stores, store)
	}
	w.tidy(key, e)
	return nil
}

// Forget drops what is known of a key whose object is gone.
func (w *Writes) Forget(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.keys, key)
}

func (w *Writes) entry(key string) *written {
	e := w.keys[key]
	if e == nil {
		if w.keys == nil {
			w.keys = map[string]*written{}
		}
		e = &written{}
		w.keys[key] = e
	}
	return e
}

func (w *Writes) tidy(key string, e *written) {
	if len(e.stores) == 0 && len(e.deleted) == 0 {
		delete(w.keys, key)
	}
}

// newer says that version a is later than b. What cannot be compared is not waited for.
func newer(a, b string) bool {
	if a == "" {
		return false
	}
	if b == "" {
		return true
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
