package watchcache

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"weak"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// Object is one revision of one object: what is needed to find and select it, and its bytes. It never changes and is
// shared by all readers.
type Object struct {
	Key             string
	Namespace, Name string
	UID             types.UID
	Revision        int64
	Labels          Labels
	// Fields are those beside metadata.name and metadata.namespace.
	Fields Fields

	codec  Codec
	stored []byte

	// forms is a list of encodings, newest first. It is read without a lock.
	forms atomic.Pointer[encoding]
	// spliceAt is the place of the revision in stored, for the one form that is stored with it; 0 as long as nobody has
	// looked, -1 if there is none.
	spliceAt atomic.Int32
	// mu guards what follows, and additions to forms.
	mu sync.Mutex
	// lately is the decoded object for as long as the garbage collector lets it be: an event is encoded right after it
	// was decoded, or never.
	lately weak.Pointer[decoded]
	// written is what the writer encoded, until somebody reads it: it becomes lately then (see Settler).
	written runtime.Object
	// always, if set, is what would otherwise be decoded: of a bookmark, which is not stored, and of a value in etcd that
	// cannot be decoded.
	always *decoded
}

type decoded struct {
	object runtime.Object
	err    error
	// locked says that the value could not be decrypted, which may change without a write (Hub.Reread).
	locked bool
}

// encoding is the object in one form. lastUsed is the sweep (see sweep.go) before which it was last wanted.
type encoding struct {
	form Form
	// bytes are nil if they are packed (see pack.go).
	bytes, packed []byte
	cheap         bool // to make another time
	lastUsed      atomic.Uint32
	next          *encoding
}

// describeObject is what is stored under a key. obj is the decoded value, of which the object keeps nothing; before, which
// may be nil, is the object's predecessor, with which it shares what is equal.
func describeObject(r *Resource, key string, stored []byte, revision int64, obj runtime.Object, before *Object) *Object {
	o := &Object{Key: key, Revision: revision, codec: r.Codec, stored: stored}
	o.Namespace, o.Name = split(r, key)
	o.describe(obj, before)
	return o
}

func (o *Object) describe(obj runtime.Object, before *Object) {
	if m, err := meta.Accessor(obj); err == nil {
		o.UID = m.GetUID()
	}
	l, f := o.codec.Attributes(obj)
	if before == nil {
		o.Labels, o.Fields = makeLabels(l, Labels{}), makeFields(f, Fields{})
		return
	}
	o.Labels, o.Fields = makeLabels(l, before.Labels), makeFields(f, before.Fields)
	if o.UID == before.UID {
		o.UID = before.UID
	}
	if o.Key == before.Key {
		o.Key, o.Namespace, o.Name = before.Key, before.Namespace, before.Name
	}
}

// decodeObject is describeObject for a value that nobody has decoded yet. A value that cannot be decoded becomes an object
// that says so to whoever reads it: left out of a list it would look deleted.
func decodeObject(r *Resource, key string, stored []byte, revision int64, before *Object) *Object {
	if d, can := r.Codec.(Describer); can {
		if uid, l, f, ok := d.Describe(stored); ok {
			o := &Object{Key: key, UID: uid, Revision: revision, codec: r.Codec, stored: stored}
			o.Namespace, o.Name = split(r, key)
			o.Labels, o.Fields = makeLabels(l, Labels{}), makeFields(f, Fields{})
			return o
		}
	}
	obj, err := r.Codec.Decode(stored, revision)
	if err == nil {
		o := describeObject(r, key, stored, revision, obj, before)
		o.lately = weak.Make(&decoded{object: obj})
		return o
	}
	o := &Object{Key: key, Revision: revision, codec: r.Codec, stored: stored}
	o.Namespace, o.Name = split(r, key)
	o.always = &decoded{err: fmt.Errorf("%s in etcd cannot be decoded: %w", key, err)}
	return o
}

// Describer is an optional ability of a Codec whose Decode may have to ask somebody else: a conversion webhook. Who loads
// objects or follows etcd cannot wait for that, and must not forget an object because nobody answered.
type Describer interface {
	// Describe tells what an object is found and selected by from its value alone. ok is false where Decode asks nobody.
	Describe(stored []byte) (uid types.UID, l labels.Set, f fields.Set, ok bool)
}

// objectOf is decodeObject for what came from storage, which may have failed to decrypt it.
func objectOf(r *Resource, kv *storage.KV, before *Object) *Object {
	if kv.Err == nil {
		return decodeObject(r, kv.Key, kv.Value, kv.Revision, before)
	}
	o := &Object{Key: kv.Key, Revision: kv.Revision, codec: r.Codec, stored: kv.Value}
	o.Namespace, o.Name = split(r, kv.Key)
	o.always = &decoded{err: apierrors.NewInternalError(fmt.Errorf("unable to transform key %q: %w", kv.Key, kv.Err)), locked: true}
	return o
}

// locked says that the value could not be decrypted.
func (o *Object) locked() bool { return o.always != nil && o.always.locked }

// split cuts a key into namespace and name, which share its memory.
func split(r *Resource, key string) (namespace, name string) {
	name = key[len(r.Prefix):]
	if r.Namespaced {
		if i := strings.IndexByte(name, '/'); i >= 0 {
			return name[:i], name[i+1:]
		}
	}
	return "", name
}

// as is the object with another revision: a deletion's, or that of a change by which it left a selector.
func (o *Object) as(revision int64) *Object {
	ghost := &Object{Key: o.Key, Namespace: o.Namespace, Name: o.Name, UID: o.UID, Revision: revision,
		Labels: o.Labels, Fields: o.Fields, codec: o.codec, stored: o.stored}
	if o.Err() != nil {
		ghost.always = o.always
	}
	return ghost
}

// Bytes is the object in one form, made on first demand. The bytes are shared and must not be changed.
func (o *Object) Bytes(form Form) ([]byte, error) {
	if b := o.encoded(form); b != nil {
		return b, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if b := o.encoded(form); b != nil {
		return b, nil
	}
	b, cheap, err := o.unpack(form), false, error(nil)
	if b == nil {
		if b, cheap, err = o.encode(form); err != nil {
			return nil, err
		}
	}
	o.keep(form, b, cheap)
	return b, nil
}

// encode makes a form. cheap says that it was, or can be another time, put together from what is stored. The caller holds
// mu.
func (o *Object) encode(form Form) (b []byte, cheap bool, err error) {
	at := 0
	splicer, can := o.codec.(Splicer)
	if can && o.always == nil && splicer.Splices(form) {
		if at = int(o.spliceAt.Load()); at > 0 {
			return splicer.Spliced(o.stored, at, o.Revision), true, nil
		}
		if at == 0 {
			if at = splicer.SpliceAt(o.stored); at == 0 {
				o.spliceAt.Store(-1)
			}
		}
	}
	obj, err := o.shared()
	if err != nil {
		return nil, false, err
	}
	if b, err = o.codec.Encode(obj, form); err != nil {
		return nil, false, fmt.Errorf("encode %s: %w", o.Key, err)
	}
	if cap(b)-len(b) > len(b)/8 {
		b = append(make([]byte, 0, len(b)), b...)
	}
	if at > 0 {
		if !bytes.Equal(b, splicer.Spliced(o.stored, at, o.Revision)) {
			at = -1 // a default has been added since it was stored, say
		}
		o.spliceAt.Store(int32(at))
	}
	return b, at > 0, nil
}

// Splice is what a form can be put together from: the stored value, and where in it the revision has its place. It answers
// false if it cannot, or if the form is at hand.
func (o *Object) Splice(form Form) (stored []byte, at int, revision int64, ok bool) {
	splicer, can := o.codec.(Splicer)
	if !can || o.spliceAt.Load() < 0 || !splicer.Splices(form) || o.encoded(form) != nil {
		return nil, 0, 0, false
	}
	if o.spliceAt.Load() == 0 {
		o.mu.Lock()
		_, can, err := o.encode(form)
		o.mu.Unlock()
		if !can || err != nil {
			return nil, 0, 0, false
		}
	}
	return o.stored, int(o.spliceAt.Load()), o.Revision, true
}

// Has says that the object's bytes in a form need not be made.
func (o *Object) Has(form Form) bool { return o.encoded(form) != nil }

// Keep takes the object's bytes in a form from somebody who made those of many objects at once.
func (o *Object) Keep(form Form, b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.encoded(form) != nil {
		return
	}
	o.keep(form, b, false)
}

// keep enters an encoding in the list. The caller holds mu.
func (o *Object) keep(form Form, b []byte, cheap bool) {
	e := &encoding{form: form, bytes: b, cheap: cheap, next: o.forms.Load()}
	e.lastUsed.Store(sweeps.Load())
	o.forms.Store(e)
	if made.Add(int64(len(b))); cheap {
		madeCheap.Add(int64(len(b)))
	}
}

func (o *Object) encoded(form Form) []byte {
	for e := o.forms.Load(); e != nil; e = e.next {
		if e.form == form {
			if now := sweeps.Load(); e.lastUsed.Load() != now {
				e.lastUsed.Store(now)
			}
			return e.bytes
		}
	}
	return nil
}

// shared is the decoded object. The caller holds mu.
func (o *Object) shared() (runtime.Object, error) {
	if o.always != nil {
		return o.always.object, o.always.err
	}
	if d := o.lately.Value(); d != nil {
		return d.object, nil
	}
	obj := o.written
	if o.written = nil; obj == nil || !o.codec.(Settler).Settle(obj, o.Revision) {
		var err error
		if obj, err = o.codec.Decode(o.stored, o.Revision); err != nil {
			return nil, fmt.Errorf("%s in etcd cannot be decoded: %w", o.Key, err)
		}
	}
	o.lately = weak.Make(&decoded{object: obj})
	return obj, nil
}

// Shared is the object to read only: for tables, hooks and admission.
func (o *Object) Shared() (runtime.Object, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shared()
}

// Decoded is a copy of the object that is the caller's to change.
func (o *Object) Decoded() (runtime.Object, error) {
	obj, err := o.Shared()
	if err != nil {
		return nil, err
	}
	return obj.DeepCopyObject(), nil
}

// Stored is the value in etcd, to read only.
func (o *Object) Stored() []byte { return o.stored }

// Err says why the value in etcd cannot be decoded; nil if it can.
func (o *Object) Err() error {
	if o.always == nil {
		return nil
	}
	return o.always.err
}

// matches asks selectors, of which nil selects everything. An object that cannot be decoded matches: readers must learn
// of it.
func (o *Object) matches(l labels.Selector, f fields.Selector) bool {
	if l != nil && !l.Matches(o.Labels) && o.Err() == nil {
		return false
	}
	return f == nil || f.Matches((*fieldsOf)(o)) || o.Err() != nil
}

// fieldsOf are an object's selectable fields with the two that every kind has.
type fieldsOf Object

func (o *fieldsOf) Has(name string) bool {
	return name == "metadata.name" || name == "metadata.namespace" || o.Fields.Has(name)
}

func (o *fieldsOf) Get(name string) string {
	switch name {
	case "metadata.name":
		return o.Name
	case "metadata.namespace":
		return o.Namespace
	}
	return o.Fields.Get(name)
}
