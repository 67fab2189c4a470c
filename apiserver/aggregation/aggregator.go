package aggregation

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/follow"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/openapi"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// Config of an Aggregator.
type Config struct {
	// Services reads APIServices, Kind is their row, and Store writes them and reads Services.
	Services watchcache.Reader
	Kind     *kinds.Kind
	Store    kinds.Store
	// Dial connects to a port of a Service.
	Dial func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)
	// Certificate is shown to the other servers, which believe it who the user is.
	Certificate func() *tls.Certificate
	// Publish tells clients what the other servers have. Calls come one at a time.
	Publish func(groups []discovery.Group, documents []openapi.Extra)
	Log     *slog.Logger
}

// Aggregator stands before the server's own handlers.
type Aggregator struct {
	cfg Config

	mu       sync.RWMutex
	backends map[schema.GroupVersion]*backend
	// locals are the groups and versions that this server has itself, and whether they come from definitions.
	locals  map[schema.GroupVersion]bool
	changed chan struct{}
}

// New makes an aggregator.
func New(cfg Config) *Aggregator {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Aggregator{cfg: cfg, backends: map[schema.GroupVersion]*backend{}, changed: make(chan struct{}, 1)}
}

// Handler hands on what other servers answer, and the rest to next.
func (g *Aggregator) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b := g.find(r.URL.Path); b != nil {
			b.proxy(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Discovery is Handler for discovery documents, which knows the paths for the list at /.
func (g *Aggregator) Discovery(d *discovery.Handler) http.Handler {
	return documents{g.Handler(d), d}
}

type documents struct {
	http.Handler
	local *discovery.Handler
}

// Paths are those of all groups and versions.
func (d documents) Paths() []string { return d.local.Paths() }

// find is the server of a path, nil where that is this one.
func (g *Aggregator) find(path string) *backend {
	rest, ok := strings.CutPrefix(path, "/apis/")
	if !ok {
		return nil
	}
	group, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return nil
	}
	version, _, _ := strings.Cut(rest, "/")
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.backends[schema.GroupVersion{Group: group, Version: version}]
}

// Run follows APIServices until ctx ends.
func (g *Aggregator) Run(ctx context.Context) error {
	synced := make(chan struct{})
	go func() {
		follow.Follower{Replace: func(all []runtime.Object) { g.replace(ctx, all) }, Apply: func(obj runtime.Object, gone bool) { g.apply(ctx, obj, gone) }}.
			Run(ctx, g.cfg.Services, synced)
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-synced:
	}
	return g.keepLocals(ctx)
}

func (g *Aggregator) replace(ctx context.Context, all []runtime.Object) {
	now := map[schema.GroupVersion]bool{}
	for _, obj := range all {
		s := obj.(*apiregistrationv1.APIService)
		if s.Spec.Service != nil {
			now[groupVersion(s)] = true
		}
		g.set(ctx, s)
	}
	g.mu.RLock()
	old := slices.Collect(maps.Keys(g.backends))
	g.mu.RUnlock()
	for _, gv := range old {
		if !now[gv] {
			g.drop(gv)
		}
	}
}

func (g *Aggregator) apply(ctx context.Context, obj runtime.Object, gone bool) {
	s := obj.(*apiregistrationv1.APIService)
	if gone {
		g.drop(groupVersion(s))
		g.wake()
		return
	}
	g.set(ctx, s)
}

func groupVersion(s *apiregistrationv1.APIService) schema.GroupVersion {
	return schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
}

// set takes an APIService in. One whose server is as it was goes on as it is.
func (g *Aggregator) set(ctx context.Context, s *apiregistrationv1.APIService) {
	gv := groupVersion(s)
	if s.Spec.Service == nil {
		g.drop(gv)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if old := g.backends[gv]; old != nil {
		if old.same(s) {
			return
		}
		old.stop()
	}
	b := newBackend(ctx, g, s)
	g.backends[gv] = b
	go b.watch()
}

func (g *Aggregator) drop(gv schema.GroupVersion) {
	g.mu.Lock()
	b := g.backends[gv]
	delete(g.backends, gv)
	g.mu.Unlock()
	if b != nil {
		b.stop()
		g.publish()
	}
}

// publish tells clients of all other servers that have answered once.
func (g *Aggregator) publish() {
	g.mu.RLock()
	list := slices.Collect(maps.Values(g.backends))
	g.mu.RUnlock()
	byGroup := map[string]*discovery.Group{}
	priority := map[string]int32{}
	slices.SortFunc(list, func(a, b *backend) int { return int(b.spec.VersionPriority - a.spec.VersionPriority) })
	var documents []openapi.Extra
	for _, b := range list {
		resources, stale, ok := b.answered()
		if !ok {
			continue
		}
		group := byGroup[b.gv.Group]
		if group == nil {
			group = &discovery.Group{Name: b.gv.Group}
			byGroup[b.gv.Group] = group
		}
		priority[b.gv.Group] = max(priority[b.gv.Group], b.spec.GroupPriorityMinimum)
		group.Versions = append(group.Versions, discovery.GroupVersion{Version: b.gv.Version, Resources: resources, Stale: stale})
		documents = append(documents, openapi.Extra{GroupVersion: b.gv, Make: b.openAPI, Hash: b.hash(), Apart: true})
	}
	groups := make([]discovery.Group, 0, len(byGroup))
	for _, name := range slices.Sorted(maps.Keys(byGroup)) {
		groups = append(groups, *byGroup[name])
	}
	slices.SortStableFunc(groups, func(a, b discovery.Group) int { return int(priority[b.Name] - priority[a.Name]) })
	g.cfg.Publish(groups, documents)
}

// wake has the APIServices of this server's own groups looked at.
func (g *Aggregator) wake() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

const (
	// again is how soon a server that does not answer is asked again, and steady how often one that does.
	again  = time.Second
	steady = 30 * time.Second
	// probe is how long an answer may take.
	probe = 5 * time.Second
)
