package watchcache

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Media is a serialization.
type Media uint8

const (
	JSON Media = iota
	Protobuf
)

// Shape is how much of an object is served.
type Shape uint8

const (
	// Full is the whole object.
	Full Shape = iota
	// MetadataOnly is a meta.k8s.io/v1 PartialObjectMetadata.
	MetadataOnly
)

// Form is one of the ways in which an object's bytes are served. Forms are compared with ==.
type Form struct {
	Version schema.GroupVersion
	Media   Media
	Shape   Shape
}

// Codec is what the cache needs to know of a kind. Package wire has one for every row of the table of kinds.
// It is called from many goroutines.
type Codec interface {
	// New is an empty object of the kind's hub type, for bookmarks.
	New() runtime.Object
	// Decode turns the value of an etcd key, last changed at a revision, into an object of the hub type, defaulted, with
	// that resourceVersion. It must not keep stored.
	Decode(stored []byte, revision int64) (runtime.Object, error)
	// Attributes are what selectors select by. The cache copies what it keeps.
	Attributes(obj runtime.Object) (labels.Set, fields.Set)
	// Encode is an object in one form: without a line break at the end of JSON, with the "k8s\0" envelope around protobuf.
	// obj is shared: it must not be changed, not even for a moment. The result is shared by all readers.
	Encode(obj runtime.Object, form Form) ([]byte, error)
}

// Blanker is an optional ability of a Codec: what stands in bookmarks, if that is not what New makes.
type Blanker interface{ Blank() runtime.Object }

// Settler is an optional ability of a Codec that saves decoding what this server has just encoded.
type Settler interface {
	// Settle makes of an object whose encoding was stored at a revision what Decode would answer for that, in place. It
	// answers false, and the object is not used any more, if it cannot.
	Settle(obj runtime.Object, revision int64) bool
}

// Splicer is an optional ability of a Codec that saves keeping a form which differs from the stored value by the revision
// alone. Whether that is so of an object is found out by comparing once.
type Splicer interface {
	// Splices says whether a form may be made like that.
	Splices(form Form) bool
	// SpliceAt is where in a stored value the revision has its place; 0 if there is none.
	SpliceAt(stored []byte) int
	// Spliced is the form.
	Spliced(stored []byte, at int, revision int64) []byte
}
