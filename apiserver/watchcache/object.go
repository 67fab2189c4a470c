package watchcache

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Object is one revision of one object: what is needed to find and select it, and its bytes. It never changes and is
// shared by all readers.
type Object struct {
	Key             string
	Namespace, Name string
	UID             types.UID
	Revision        int64
	Labels          Labels
	Fields          Fields
}

// Bytes is the object in one form, made on first demand. The bytes are shared and must not be changed.
func (o *Object) Bytes(form Form) ([]byte, error) { panic("in work") }

// Decoded is a copy of the object that is the caller's to change.
func (o *Object) Decoded() (runtime.Object, error) { panic("in work") }

// Shared is the object to read only: for tables, hooks and admission.
func (o *Object) Shared() (runtime.Object, error) { panic("in work") }

// Stored is the value in etcd, to read only.
func (o *Object) Stored() []byte { panic("in work") }

// Prepared is a write that was announced (Reader.Prepare).
type Prepared struct{}

// Done says that the write happened at a revision, and returns what the cache will serve.
func (p *Prepared) Done(revision int64) *Object { panic("in work") }

// Drop says that the write did not happen, or that nobody knows. It does nothing after Done.
func (p *Prepared) Drop() {}
