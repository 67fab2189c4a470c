package watchcache

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/s2"
)

// An encoding that is not in use may be packed: a third of the memory, and a tenth of the time that making it anew takes.
// A list of everything, once in a while, would otherwise either hold the bytes of everything or encode everything.

// packLeast is the size from which packing is worth it.
const packLeast = 1024

var packing = sync.Pool{New: func() any { return new([]byte) }}

// pack is an encoding in little space; itself if it is that already.
func (e *encoding) pack() *encoding {
	if len(e.bytes) < packLeast {
		return e
	}
	scratch := packing.Get().(*[]byte)
	defer packing.Put(scratch)
	if need := s2.MaxEncodedLen(len(e.bytes)); cap(*scratch) < need {
		*scratch = make([]byte, need)
	}
	packed := s2.Encode((*scratch)[:cap(*scratch)], e.bytes)
	if len(packed) > len(e.bytes)*3/4 {
		return e
	}
	return &encoding{form: e.form, packed: bytes.Clone(packed), cheap: e.cheap}
}

// size is how many bytes an encoding holds; none if it is nil.
func (e *encoding) size() int {
	if e == nil {
		return 0
	}
	return len(e.bytes) + len(e.packed)
}

// unpack takes the packed encoding of a form out of the list and answers its bytes; nil if there is none. The caller holds
// mu.
func (o *Object) unpack(form Form) (b []byte) {
	for e := o.forms.Load(); e != nil; e = e.next {
		if e.form == form && e.packed != nil {
			b, _ = s2.Decode(nil, e.packed) // nil, and made anew, if memory has gone bad
		}
	}
	if b == nil {
		return nil
	}
	var kept *encoding
	for e := o.forms.Load(); e != nil; e = e.next {
		if e.form == form {
			made.Add(int64(-e.size()))
			continue
		}
		fresh := &encoding{form: e.form, bytes: e.bytes, packed: e.packed, cheap: e.cheap, next: kept}
		fresh.lastUsed.Store(e.lastUsed.Load())
		kept = fresh
	}
	o.forms.Store(kept)
	return b
}
