package watchcache

import (
	"bytes"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// Prepared is a write that was announced (Reader.Prepare). etcd's news of it may come before or after the answer to the
// writer: whoever is first gives the Object its revision, and both get the same.
//
// The writer's decoded object says how to find and select the new one. It is not what is served: what comes back from
// storage differs in small ways (an empty list that protobuf does not tell from none), and readers must not see one thing
// from this server and another from the next. A codec that is a Settler makes the one of the other.
type Prepared struct {
	from   *pending // nil if the kind is not cached
	r      *Resource
	key    string
	stored []byte

	mu sync.Mutex
	// object has no revision until that is known.
	object *Object
	done   bool
}

func prepare(from *pending, r *Resource, key string, stored []byte, obj runtime.Object, before *Object) *Prepared {
	o := describeObject(r, key, stored, 0, obj, before)
	if _, ok := r.Codec.(Settler); ok {
		o.written = obj
	}
	return &Prepared{from: from, r: r, key: key, stored: stored, object: o}
}

// at is the object at a revision. The first revision asked for gets what was prepared. Another one means that two writes
// stored the same bytes, and is served from those.
func (p *Prepared) at(revision int64) *Object {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.object.Revision == 0 {
		p.object.Revision = revision
	}
	if p.object.Revision != revision {
		return decodeObject(p.r, p.key, p.stored, revision, p.object)
	}
	return p.object
}

// Done says that the write happened at a revision, and returns what the cache will serve.
func (p *Prepared) Done(revision int64) *Object {
	o := p.at(revision)
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	if p.from != nil {
		p.from.wrote(revision)
	}
	return o
}

// Drop says that the write did not happen, or that nobody knows. It does nothing after Done.
func (p *Prepared) Drop() {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if p.from != nil && !done {
		p.from.remove(p)
	}
}

// matches says that a change is the announced write, or one that stored the same. The caller holds pending.mu.
func (p *Prepared) matches(ch *storage.Change) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.object.Revision != 0 {
		return p.object.Revision == ch.Revision
	}
	return bytes.Equal(p.stored, ch.Value)
}

// pending are the announced writes of a kind whose news has not come.
type pending struct {
	resource *Resource
	current  func(key string) *Object

	// acked is the last revision at which this server has acknowledged a write.
	acked atomic.Int64

	count atomic.Int32
	mu    sync.Mutex
	byKey map[string][]*Prepared
}

func (w *pending) wrote(revision int64) {
	for {
		known := w.acked.Load()
		if revision <= known || w.acked.CompareAndSwap(known, revision) {
			return
		}
	}
}

func (w *pending) add(key string, stored []byte, obj runtime.Object) *Prepared {
	p := prepare(w, w.resource, key, stored, obj, w.current(key))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byKey == nil {
		w.byKey = map[string][]*Prepared{}
	}
	w.byKey[key] = append(w.byKey[key], p)
	w.count.Add(1)
	return p
}

// take finds and removes the announced write that a change is the news of.
func (w *pending) take(ch *storage.Change) *Object {
	if w.count.Load() == 0 {
		return nil
	}
	w.mu.Lock()
	var found *Prepared
	for _, p := range w.byKey[ch.Key] {
		if p.matches(ch) {
			found = p
			break
		}
	}
	if found != nil {
		w.removeLocked(found)
	}
	w.mu.Unlock()
	if found == nil {
		return nil
	}
	return found.at(ch.Revision)
}

func (w *pending) remove(p *Prepared) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removeLocked(p)
}

func (w *pending) removeLocked(p *Prepared) {
	all := w.byKey[p.key]
	for i := range all {
		if all[i] != p {
			continue
		}
		w.count.Add(-1)
		if len(all) == 1 {
			delete(w.byKey, p.key)
			return
		}
		w.byKey[p.key] = append(append([]*Prepared(nil), all[:i]...), all[i+1:]...)
		return
	}
}

// clear forgets all: their news may have been missed.
func (w *pending) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byKey = nil
	w.count.Store(0)
	w.acked.Store(0)
}
