package watchcache

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// Fresh says how fresh a read must be. A positive value is a revision that it must not be older than, and fresh besides.
type Fresh int64

const (
	// Latest is as fresh as the last write that any API server has acknowledged.
	Latest Fresh = 0
	// Cached is what this server knows. It is for writes, which compare the revision anyway; never for an answer.
	Cached Fresh = -1
)

// Resource is a kind as the cache sees it.
type Resource struct {
	// GroupResource is its name in error messages and logs.
	GroupResource schema.GroupResource
	// Prefix is that of its keys, "/registry/pods/". Namespaced says that a namespace follows.
	Prefix     string
	Namespaced bool
	Codec      Codec
	// Indexed are fields by which objects are found, and watchers woken, without looking at the others ("spec.nodeName").
	Indexed []string
	// Uncached kinds are read from etcd (Events).
	Uncached bool
}

// Reader serves the objects of one kind: a *Cache or, for kinds that are not cached, an *Uncached.
//
// Errors are Status errors where the client is to blame or to be told (a revision that is gone, a bad continue token),
// and storage's classes otherwise.
type Reader interface {
	// Get is one object; storage.ErrNotFound if there is none. namespace is empty for kinds that have none.
	Get(ctx context.Context, namespace, name string, fresh Fresh) (*Object, error)
	List(ctx context.Context, opts ListOptions) (*List, error)
	// Watch returns once the first events can be had; it waits for freshness like List. ctx bounds that wait alone.
	Watch(ctx context.Context, opts WatchOptions) (Watcher, error)
	// Prepare announces a write, so that what is found out about it here need not be found out again when etcd tells of it.
	// key and stored are what is about to be written, obj the same decoded, which is given
	// away: it may be changed from now on. Either Done or Drop of the answer must follow.
	Prepare(key string, stored []byte, obj runtime.Object) *Prepared
	// Wrote says that a write that was not prepared, a deletion, was acknowledged at a revision.
	Wrote(revision int64)
	// Acknowledged is the revision of the last write of the kind that this server has acknowledged; 0 if it does not know.
	Acknowledged() int64
	// CatchUp waits until what this server has itself acknowledged of the kind is known here, which it nearly always is.
	CatchUp(ctx context.Context) error
	// Count is the number of objects known; -1 for kinds that are not cached.
	Count() int
}

// ListOptions are those of a LIST. Strings are the client's, unchecked but for what ValidateListOptions of
// apimachinery refuses, which the caller has refused.
type ListOptions struct {
	// Namespace empty means all. Name is that of a single object, from a metadata.name field selector.
	Namespace, Name string
	// Nil selects everything. Fields are of the hub type's names.
	Labels labels.Selector
	Fields fields.Selector

	Limit    int64
	Continue string

	ResourceVersion string
	Match           metav1.ResourceVersionMatch
	// Cached lists what this server knows, with an empty ResourceVersion. It is never for an answer.
	Cached bool
}

// List is the outcome of a LIST.
type List struct {
	Items    []*Object
	Revision int64
	// Continue is the token for the rest, Remaining how much that is; nil where upstream does not say.
	Continue  string
	Remaining *int64
}

// WatchOptions are those of a WATCH; see ListOptions.
type WatchOptions struct {
	Namespace, Name string
	Labels          labels.Selector
	Fields          fields.Selector

	ResourceVersion   string
	Match             metav1.ResourceVersionMatch
	SendInitialEvents *bool
	Bookmarks         bool
}

// Watcher is one client's place in a stream of events. It is used by one goroutine.
type Watcher interface {
	// Next waits for events and returns as many as are there, up to some hundreds, in order. The slice is good until the
	// next call. It ends with ctx's error, or with io.EOF after an ERROR event and when the kind is no longer served.
	// If ctx has a deadline and bookmarks were asked for, one comes shortly before it.
	Next(ctx context.Context) ([]Event, error)
	Close()
}

// Event is what a watcher is told. Object is nil for ERROR, Status nil for all others.
type Event struct {
	Type   watch.EventType
	Object *Object
	Status *metav1.Status
}
