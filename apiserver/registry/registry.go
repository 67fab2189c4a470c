package registry

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry/ownership"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// Config of a Registry.
type Config struct {
	Store *storage.Store
	Hub   *watchcache.Hub
	// Kinds are served from the start; others may be added and removed later.
	Kinds []*kinds.Kind
	// Admission changes and refuses writes. Nil admits everything. It may also be set later, by SetAdmission, since its
	// rules read objects through this registry.
	Admission admission.Interface
	// MayCreate says whether a user may create an object that a PUT or an apply would make. An error is the refusal. Nil
	// allows it.
	MayCreate func(ctx context.Context, user *kinds.UserInfo, kind *kinds.Kind, version *kinds.Version, subresource, namespace, name string) error
	// Fields makes the trackers of managed fields of compiled-in kinds. Default: for the built-in schemas.
	Fields *ownership.Factory
	// Indexed are the fields by which watchers are woken and objects found without a look at the others.
	Indexed map[schema.GroupResource][]string
	// Now is the clock. Default time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Registry serves the kinds of the table. It is safe for concurrent use.
type Registry struct {
	cfg       Config
	admission atomic.Pointer[admission.Interface]
	services  sync.Map // name -> any
	// prefixes finds the kind of a key: prefix -> schema.GroupResource. Internal and virtual kinds have none.
	prefixes sync.Map

	mu sync.RWMutex
	// resources by group and resource, versions by group, version and resource.
	resources map[schema.GroupResource]*Resource
	versions  map[schema.GroupVersionResource]served
}

type served struct {
	resource *Resource
	version  *kinds.Version
}

// New makes a registry and begins to serve cfg.Kinds.
func New(cfg Config) *Registry {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Fields == nil {
		cfg.Fields = &ownership.Factory{}
		// Parsing the schemas takes a tenth of a second that the start need not wait for.
		go ownership.BuiltIn()
	}
	if cfg.Indexed == nil {
		cfg.Indexed = map[schema.GroupResource][]string{{Resource: "pods"}: {"spec.nodeName"}}
	}
	r := &Registry{cfg: cfg, resources: map[schema.GroupResource]*Resource{}, versions: map[schema.GroupVersionResource]served{}}
	r.SetAdmission(cfg.Admission)
	for _, kind := range cfg.Kinds {
		r.Add(kind)
	}
	return r
}

// SetAdmission puts another admission chain in place for the writes that follow.
func (r *Registry) SetAdmission(a admission.Interface) {
	if a == nil {
		a = admission.Chain{}
	}
	r.admission.Store(&a)
}

// Add begins to serve a kind. A kind of the same group and resource is replaced.
func (r *Registry) Add(kind *kinds.Kind) *Resource { return r.AddWith(kind, nil) }

// AddWith is Add for kinds that bring their own schema: custom resources.
func (r *Registry) AddWith(kind *kinds.Kind, fields *ownership.Factory) *Resource {
	if fields == nil {
		fields = r.cfg.Fields
	}
	res := &Resource{Kind: kind, Codec: wire.NewCodec(kind), registry: r, fields: fields}
	if !kind.Virtual {
		res.Reader = r.cfg.Hub.Add(watchcache.Resource{
			GroupResource: kind.GroupResource(), Prefix: kind.KeyPrefix(""), Namespaced: kind.Scope == kinds.Namespaced,
			Codec: res.Codec, Indexed: r.cfg.Indexed[kind.GroupResource()], Uncached: kind.Uncached,
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(kind.GroupResource())
	r.resources[kind.GroupResource()] = res
	if kind.Internal {
		return res
	}
	if !kind.Virtual {
		r.prefixes.Store(kind.KeyPrefix(""), kind.GroupResource())
	}
	for i := range kind.Served {
		v := &kind.Served[i]
		r.versions[v.GVK.GroupVersion().WithResource(kind.Resource)] = served{res, v}
	}
	return res
}

// Remove ends serving a kind. Its watches end.
func (r *Registry) Remove(kind *kinds.Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(kind.GroupResource())
	if !kind.Virtual {
		r.cfg.Hub.Remove(kind.KeyPrefix(""))
	}
}

// forget takes a kind out of the tables. The caller holds mu.
func (r *Registry) forget(gr schema.GroupResource) {
	old := r.resources[gr]
	if old == nil {
		return
	}
	delete(r.resources, gr)
	if !old.Kind.Virtual {
		r.prefixes.Delete(old.Kind.KeyPrefix(""))
	}
	for i := range old.Kind.Served {
		delete(r.versions, old.Kind.Served[i].GVK.GroupVersion().WithResource(old.Kind.Resource))
	}
}

// Lookup finds what is served under a path's group, version and resource.
func (r *Registry) Lookup(gvr schema.GroupVersionResource) (*Resource, *kinds.Version) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := r.versions[gvr]
	return s.resource, s.version
}

// Resource finds a kind by group and resource; nil if there is none.
func (r *Registry) Resource(gr schema.GroupResource) *Resource {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.resources[gr]
}

// AtKey says whose key in etcd that is; false for keys of no resource of the API.
func (r *Registry) AtKey(key string) (schema.GroupResource, bool) {
	for cut := key; ; {
		i := strings.LastIndexByte(strings.TrimSuffix(cut, "/"), '/')
		if i < 0 {
			return schema.GroupResource{}, false
		}
		cut = cut[:i+1]
		if gr, ok := r.prefixes.Load(cut); ok {
			return gr.(schema.GroupResource), true
		}
	}
}

// Kinds are the kinds that are served now, in no order.
func (r *Registry) Kinds() []*kinds.Kind {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]*kinds.Kind, 0, len(r.resources))
	for _, res := range r.resources {
		out = append(out, res.Kind)
	}
	return out
}

// Resource is one kind as the registry serves it.
type Resource struct {
	Kind  *kinds.Kind
	Codec *wire.Codec
	// Reader is nil for virtual kinds.
	Reader watchcache.Reader

	registry *Registry
	fields   *ownership.Factory
	trackers sync.Map // trackerKey -> func() ownership.Tracker
}

type trackerKey struct {
	version     schema.GroupVersion
	subresource string
}

// tracker of the kind's own objects: most kinds are never written through most of their versions and subresources.
func (res *Resource) tracker(v *kinds.Version, subresource string) ownership.Tracker {
	return res.trackerOf(trackerKey{v.GVK.GroupVersion(), subresource}, func() (ownership.Tracker, error) {
		return res.fields.Tracker(res.Kind, v, subresource, res.Codec)
	})
}

// trackerOf makes a tracker on first use. That takes milliseconds, so those who come meanwhile wait for it.
func (res *Resource) trackerOf(key trackerKey, make func() (ownership.Tracker, error)) ownership.Tracker {
	t, ok := res.trackers.Load(key)
	if !ok {
		t, _ = res.trackers.LoadOrStore(key, sync.OnceValue(func() ownership.Tracker {
			t, err := make()
			if err != nil {
				res.registry.cfg.Log.Error("managed fields are not tracked", "resource", res.Kind.GroupResource().String(), "version", key.version.String(),
					"subresource", key.subresource, "err", err)
				return ownership.None{}
			}
			return t
		}))
	}
	return t.(func() ownership.Tracker)()
}

// Serves says whether anything that is compiled in is served under a group and version.
func (r *Registry) Serves(gv schema.GroupVersion) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for gvr, s := range r.versions {
		if gvr.GroupVersion() == gv && !s.resource.Kind.Custom {
			return true
		}
	}
	return false
}
