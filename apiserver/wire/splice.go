package wire

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// An object's protobuf differs from the value in etcd by its resourceVersion alone, in nearly all kinds: that is empty in
// etcd. So the protobuf of an object is not kept beside its stored value but put together from it, which costs a copy.

// tagResourceVersion is field 6 of ObjectMeta, in generated code always present, even when empty. tagMetadata is field 1
// of every object and of every list, tagItem field 2 of every list.
const (
	tagResourceVersion = 0x32
	tagMetadata        = 0x0a
	tagItem            = 0x12
)

// spliced is a stored value taken apart: the message is tagMetadata, a length, before, a resourceVersion, and after.
type spliced struct {
	before, after []byte
	// metadata and message are the lengths of both with the resourceVersion in its place.
	metadata, message int
	version           []byte
}

// splice takes a stored value apart at the place of its resourceVersion, which begins at byte at.
func splice(stored []byte, head, at int, version []byte) spliced {
	_, n := binary.Uvarint(stored[head+1:])
	raw := stored[head+1+n : len(stored)-len(envelopeTail)]
	metadata, n := binary.Uvarint(raw[1:])
	at -= len(stored) - len(envelopeTail) - len(raw) // within raw
	s := spliced{before: raw[1+n : at], after: raw[at+2:], version: version, metadata: int(metadata) + len(version)}
	s.message = 1 + uvarintLen(s.metadata) + s.metadata + len(raw) - (1 + n + int(metadata))
	return s
}

// appendHead appends the message up to and with its resourceVersion; after follows.
func (s *spliced) appendHead(b []byte) []byte {
	b = append(b, tagMetadata)
	b = binary.AppendUvarint(b, uint64(s.metadata))
	b = append(b, s.before...)
	b = append(b, tagResourceVersion, byte(len(s.version)))
	return append(b, s.version...)
}

// SpliceAt finds where the resourceVersion of a stored value is; 0 if it cannot tell.
// It implements watchcache.Splicer, as do the following.
func (c *Codec) SpliceAt(stored []byte) int {
	if !bytes.HasPrefix(stored, c.stored.head) || !bytes.HasSuffix(stored, envelopeTail) {
		return 0
	}
	rest := stored[len(c.stored.head):]
	if len(rest) == 0 || rest[0] != tagRaw {
		return 0
	}
	raw, tail, err := lengthDelimited(rest[1:])
	if err != nil || len(tail) != len(envelopeTail) || len(raw) == 0 || raw[0] != tagMetadata {
		return 0
	}
	metadata, _, err := lengthDelimited(raw[1:])
	for err == nil && len(metadata) > 1 {
		switch tag := metadata[0]; {
		case tag == tagResourceVersion:
			if metadata[1] != 0 {
				return 0
			}
			return cap(stored) - cap(metadata)
		case tag&7 != 2 || tag > tagResourceVersion:
			return 0 // generated code writes the fields in order, and those in front are strings
		}
		_, metadata, err = lengthDelimited(metadata[1:])
	}
	return 0
}

// Splices says that a form is the stored one with a resourceVersion.
func (c *Codec) Splices(form watchcache.Form) bool {
	return form.Media == watchcache.Protobuf && form.Shape == watchcache.Full && !c.Text && !c.kind.StoredJSON &&
		c.stored.FromHub == nil && form.Version == c.stored.GVK.GroupVersion()
}

// Spliced is the form made of a stored value, of which SpliceAt has found the place at.
func (c *Codec) Spliced(stored []byte, at int, revision int64) []byte {
	var digits [20]byte
	s := splice(stored, len(c.stored.head), at, strconv.AppendInt(digits[:0], revision, 10))
	b := make([]byte, 0, len(c.stored.head)+1+uvarintLen(s.message)+s.message+len(envelopeTail))
	b = append(b, c.stored.head...)
	b = append(b, tagRaw)
	b = binary.AppendUvarint(b, uint64(s.message))
	b = s.appendHead(b)
	b = append(b, s.after...)
	return append(b, envelopeTail...)
}

// splicedItem is an item of a list that is put together on its way out: what stands in front of it and its first part go
// to the prefixes.
func (c *Codec) splicedItem(prefixes, stored []byte, at int, revision int64) (_, after []byte) {
	var digits [20]byte
	s := splice(stored, len(c.stored.head), at, strconv.AppendInt(digits[:0], revision, 10))
	prefixes = append(prefixes, tagItem)
	prefixes = binary.AppendUvarint(prefixes, uint64(s.message))
	return s.appendHead(prefixes), s.after
}

// spliceable is an item whose bytes may be put together.
type spliceable interface {
	Splice(form watchcache.Form) (stored []byte, at int, revision int64, ok bool)
}

var _ watchcache.Splicer = (*Codec)(nil)

func spliceOf(o item, form watchcache.Form) (stored []byte, at int, revision int64, ok bool) {
	if s, can := o.(spliceable); can && form.Media == watchcache.Protobuf {
		return s.Splice(form)
	}
	return nil, 0, 0, false
}
