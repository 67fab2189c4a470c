package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"fmt"
	"io"

	"github.com/skiff-project/skiff/apiserver/discovery"
)

// part is a document of version 3 on its way into that of version 2.
type part struct {
	hash string
	make func() ([]byte, error)
}

// whole gathers the one document of version 2. What is compiled in makes up nearly all of it and never changes, so it is
// made once; what comes and goes is put into that, in either form, whenever it changes.
type whole struct {
	compiledIn, more []part
	groups           []discovery.Group
}

func texts(parts []part) ([][]byte, error) {
	out := make([][]byte, len(parts))
	for i, p := range parts {
		var err error
		if out[i], err = p.make(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func hashOf(parts []part) string {
	h := sha512.New()
	for _, p := range parts {
		fmt.Fprintln(h, p.hash)
	}
	return fmt.Sprintf("%X", h.Sum(nil))
}

// document is the document of version 2. base is that of what is compiled in, and is used again if it is the same.
func (w *whole) document(base *document) (whole, newBase *document) {
	hash := hashOf(w.compiledIn)
	if base == nil || base.hash != hash {
		base = &document{hash: hash, make: w.base}
	}
	if len(w.more) == 0 {
		return base, base
	}
	return &document{hash: hashOf(append(w.compiledIn[:len(w.compiledIn):len(w.compiledIn)], w.more...)), base: base, more: w.others}, base
}

func (w *whole) base() ([]byte, error) {
	docs, err := texts(w.compiledIn)
	if err != nil {
		return nil, err
	}
	paths, defs, err := v2(docs, nil)
	if err != nil {
		return nil, err
	}
	return v2Document(v2Whole(), paths, defs)
}

func (w *whole) others() (paths, defs object, err error) {
	docs, err := texts(w.more)
	if err != nil {
		return nil, nil, err
	}
	custom, err := customV2(w.groups)
	if err != nil {
		return nil, nil, err
	}
	return v2(docs, custom)
}

// plain is the document as it is, or in the form that toProto makes.
func (d *document) plain(toProto func([]byte) ([]byte, error)) ([]byte, error) {
	packed, err := d.compressed(toProto)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// joined puts what comes and goes into the base. Protobuf messages are joined by writing one after the other.
func (d *document) joined(toProto func([]byte) ([]byte, error)) ([]byte, error) {
	text, err := d.base.plain(nil)
	if err != nil {
		return nil, err
	}
	paths, defs, err := d.more()
	if err != nil {
		return nil, err
	}
	if toProto == nil {
		return v2Join(text, paths, defs)
	}
	small, err := v2Document(v2Always(), missing(text, paths), missing(text, defs))
	if err != nil {
		return nil, err
	}
	base, err := d.base.plain(toProto)
	if err != nil {
		return nil, err
	}
	more, err := toProto(small)
	if err != nil {
		return nil, err
	}
	return append(base, more...), nil
}
