package registry

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Write is what every write says about itself.
type Write struct {
	// Version is the version that the client speaks. Nil means the hub's own.
	Version     *kinds.Version
	Subresource string
	Namespace   string
	Name        string
	User        *kinds.UserInfo
	// Manager is who the managed fields name.
	Manager string
	DryRun  bool
	// Options are the CreateOptions, UpdateOptions, PatchOptions or DeleteOptions, for admission.
	Options runtime.Object
	// Optimistic lets a Create go by what this server knows where etcd would have to be asked otherwise. If that turns out to
	// be no longer so, the error is storage.ErrMoved, nothing has been written, and the caller tries again without it.
	Optimistic bool
	required   []storage.Condition
	// internal marks the server's own writes: no admission.
	internal bool
}

// Result is what a write leaves: an object of the cache, or (after a dry run, for a Status) one that is nowhere else.
type Result struct {
	Cached *watchcache.Object
	Object runtime.Object
	// Created says that an update made the object.
	Created bool
	// Deleted says that a deletion removed the object, rather than marking it.
	Deleted bool
}

// Shared is the object to read only.
func (r Result) Shared() (runtime.Object, error) {
	if r.Cached != nil {
		return r.Cached.Shared()
	}
	return r.Object, nil
}

// groupResource is the name of the resource in messages: in the group that the client spoke to.
func (res *Resource) groupResource(w *Write) schema.GroupResource {
	if w.Version != nil {
		return schema.GroupResource{Group: w.Version.GVK.Group, Resource: res.Kind.Resource}
	}
	return res.Kind.GroupResource()
}

func (res *Resource) version(w *Write) *kinds.Version {
	if w.Version != nil {
		return w.Version
	}
	return &res.Kind.Served[0]
}

// request is what the row's functions are told.
func (res *Resource) request(verb string, w *Write) *kinds.Request {
	req := &kinds.Request{Verb: verb, Subresource: w.Subresource, Namespace: w.Namespace, Name: w.Name, Now: res.registry.cfg.Now()}
	req.GroupVersion = res.version(w).GVK.GroupVersion()
	if w.User != nil {
		req.User = *w.User
	}
	return req
}

func setGVK(obj runtime.Object, gvk schema.GroupVersionKind) {
	if kind := obj.GetObjectKind(); kind.GroupVersionKind() != gvk {
		kind.SetGroupVersionKind(gvk)
	}
}
