package routes

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// Connector answers connections into a node, a pod or a service: log, exec, attach, portforward and proxy. Package
// nodeproxy is one.
type Connector interface {
	Connect(w http.ResponseWriter, r *http.Request, c *Connection)
}

// Connection is what a Connector is asked for.
type Connection struct {
	Kind *kinds.Kind
	// Name and Namespace are the object's. A service's or pod's name may be scheme:name:port.
	Namespace, Name string
	// Connect names the connection, as in kinds.Subresource; Path is what follows it in the URL, with its slash.
	Connect, Path string
	User          *kinds.UserInfo
	// Admit asks admission; options is the type that the row names (PodExecOptions). It must be called before anything
	// is connected.
	Admit func(ctx context.Context, options runtime.Object) error
}

// Config of the routes.
type Config struct {
	Registry *registry.Registry
	// Connector may be nil: connections are answered with 503 then.
	Connector Connector
	// MinWatch is the least time that a watch without timeoutSeconds lasts; it ends at random within twice of it, so that
	// clients do not come back all at once. Default 30 minutes.
	MinWatch time.Duration
	// CatchUp, if set, is called for a resource that is not served here: another API server may serve it already.
	CatchUp func(ctx context.Context, gr schema.GroupResource)
	// Observe, if set, is told of events that were sent to watchers.
	Observe func(gvr schema.GroupVersionResource, events, bytes int)
	Log     *slog.Logger
}

type handler struct{ Config }

// New makes the handler of all paths of objects.
func New(cfg Config) http.Handler {
	if cfg.MinWatch == 0 {
		cfg.MinWatch = 30 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &handler{cfg}
}

// call is one request on its way.
type call struct {
	*handler
	w       http.ResponseWriter
	r       *http.Request
	info    *request.Info
	res     *registry.Resource
	version *kinds.Version
	sub     *kinds.Subresource
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info := request.InfoFrom(r.Context())
	if info == nil {
		var err error
		if info, err = request.Parse(r); err != nil {
			wire.WriteError(w, r, apierrors.NewBadRequest(err.Error()))
			return
		}
		state := &request.State{Info: info}
		state.WithWarnings(w.Header())
		r = r.WithContext(request.WithState(r.Context(), state))
	}
	if !info.IsResource {
		notFoundPage(w)
		return
	}
	gvr := schema.GroupVersionResource{Group: info.Group, Version: info.Version, Resource: info.Resource}
	res, version := h.Registry.Lookup(gvr)
	if res == nil && h.CatchUp != nil {
		h.CatchUp(r.Context(), gvr.GroupResource())
		res, version = h.Registry.Lookup(gvr)
	}
	if res == nil {
		if !h.Registry.Serves(gvr.GroupVersion()) {
			notFoundPage(w)
			return
		}
		wire.WriteError(w, r, noSuchResource())
		return
	}
	c := &call{handler: h, w: w, r: r, info: info, res: res, version: version}
	c.serve()
}

func notFoundPage(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) }

// The refusals of a path or method that no object is behind carry empty details, as upstream's router makes them.
func noSuchResource() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "404: Page Not Found", 0, false)
}

// errNoPage is noSuchResource for custom resources, which upstream's router knows nothing of.
var errNoPage = errors.New("404 page not found")

// noSuchPath refuses a path that the kind does not have.
func (c *call) noSuchPath() error {
	if c.res.Kind.Custom {
		return errNoPage
	}
	return noSuchResource()
}

func noSuchMethod() error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "405: Method Not Allowed", 0, false)
}

// serve finds the shape of the path, then the verb. Refusals come in upstream's order: path, method, body's type,
// answer's type.
func (c *call) serve() {
	serve, err := c.route()
	if err != nil {
		if errors.Is(err, errNoPage) {
			notFoundPage(c.w)
			return
		}
		if c.r.Method == http.MethodHead {
			c.w.Header().Set("Content-Type", wire.TypeJSON)
			c.w.WriteHeader(int(wire.StatusOf(err).Code))
			return
		}
		c.fail(err)
		return
	}
	request.Warn(c.r.Context(), c.version.Deprecated)
	serve()
}

func (c *call) route() (func(), error) {
	info := c.info
	if info.Verb == "proxy" {
		return nil, noSuchResource()
	}
	// An exact field selector fills Info.Name; the path has a name only if it has a part for it.
	named := len(info.Parts) > 1
	namespaced := c.res.Kind.Scope == kinds.Namespaced
	inNamespace := info.Namespace != ""
	if inNamespace && info.Resource == "namespaces" && info.Group == "" {
		// A Namespace counts as being inside of itself, and in no other.
		inNamespace = !named || info.Parts[1] != info.Namespace
	}
	switch {
	case !namespaced && inNamespace, namespaced && !inNamespace && named:
		return nil, c.noSuchPath()
	case isOldWatch(info):
		return c.routeWatch(named)
	case !named:
		return c.routeCollection(namespaced && !inNamespace)
	case len(info.Parts) == 2:
		return c.routeItem()
	}
	return c.routeSubresource()
}

// isOldWatch tells /api/v1/watch/pods from /api/v1/pods?watch=1.
func isOldWatch(info *request.Info) bool {
	if info.Verb != "watch" {
		return false
	}
	prefix := "/" + info.APIPrefix + "/"
	if info.Group != "" {
		prefix += info.Group + "/"
	}
	return strings.HasPrefix(info.Path, prefix+info.Version+"/watch/")
}

func (c *call) can(verb string) bool { return slices.Contains(c.res.Kind.Verbs, verb) }

func (c *call) routeWatch(named bool) (func(), error) {
	switch {
	case !c.can("watch") || len(c.info.Parts) > 2:
		return nil, noSuchResource()
	case c.r.Method != http.MethodGet:
		return nil, noSuchMethod()
	}
	return func() { c.listOrWatch(true, named) }, c.acceptable(true)
}

func (c *call) routeCollection(everywhere bool) (func(), error) {
	exists := c.can("list") || c.can("create") || c.can("deletecollection")
	if everywhere {
		exists = c.can("list")
	}
	if !exists {
		return nil, noSuchResource()
	}
	switch {
	case c.r.Method == http.MethodGet && c.can("list"):
		return func() { c.listOrWatch(false, false) }, c.acceptable(true)
	case c.r.Method == http.MethodPost && c.can("create") && !everywhere:
		return c.create, c.acceptable(false)
	case c.r.Method == http.MethodDelete && c.can("deletecollection") && !everywhere:
		return c.deleteCollection, c.acceptable(false)
	case c.res.Kind.Custom && everywhere:
		return nil, errNoPage
	case c.res.Kind.Custom && (c.r.Method == http.MethodPut || c.r.Method == http.MethodPatch):
		return nil, apierrors.NewBadRequest("name must be provided")
	}
	return nil, noSuchMethod()
}

func (c *call) routeItem() (func(), error) {
	if c.res.Kind.Virtual && !c.can("get") {
		return nil, noSuchResource()
	}
	switch {
	case c.r.Method == http.MethodGet && c.can("get"):
		return c.get, c.acceptable(false)
	case c.r.Method == http.MethodPut && c.can("update"):
		return c.update, c.acceptable(false)
	case c.r.Method == http.MethodPatch && c.can("patch"):
		return c.routePatch()
	case c.r.Method == http.MethodDelete && c.can("delete"):
		return c.delete, c.acceptable(false)
	}
	return nil, noSuchMethod()
}

func (c *call) routeSubresource() (func(), error) {
	c.sub = c.res.Kind.Subresource(c.version, c.info.Subresource)
	if c.sub == nil && c.res.Kind.Custom {
		return nil, apierrors.NewNotFound(c.res.Kind.GroupResource(), c.info.Parts[1])
	}
	if c.sub == nil || len(c.info.Parts) > 3 && c.sub.Connect != "proxy" {
		return nil, noSuchResource()
	}
	if c.sub.Connect != "" {
		return c.connect, nil
	}
	verb := map[string]string{http.MethodGet: "get", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodPost: "create", http.MethodDelete: "delete"}[c.r.Method]
	if !slices.Contains(c.sub.Verbs, verb) {
		return nil, noSuchMethod()
	}
	switch verb {
	case "get":
		return c.get, c.acceptable(false)
	case "update":
		return c.update, c.acceptable(false)
	case "patch":
		return c.routePatch()
	case "create":
		return c.post, c.acceptable(false)
	}
	return nil, noSuchMethod()
}

func (c *call) routePatch() (func(), error) {
	if err := c.patchType(); err != nil {
		return nil, err
	}
	return c.patch, c.acceptable(false)
}

// acceptable refuses, as upstream's router does before anything else looks at the request, clients that accept none of
// the media types of a path, whatever the parameters. Custom resources have no such router.
func (c *call) acceptable(collection bool) error {
	header := c.r.Header.Get("Accept")
	if header == "" || c.res.Codec.Text {
		return nil
	}
	types := []string{wire.TypeJSON, wire.TypeYAML, wire.TypeProtobuf}
	for _, clause := range strings.Split(header, ",") {
		media, _, _ := strings.Cut(clause, ";")
		if media = strings.TrimSpace(media); media == "*/*" || slices.Contains(types, media) {
			return nil
		}
	}
	if collection && c.can("watch") {
		types = append(types, wire.JSON.StreamType()+";stream=watch", wire.Protobuf.StreamType())
	}
	return apierrors.NewGenericServerResponse(http.StatusNotAcceptable, "", schema.GroupResource{}, "",
		"406: Not Acceptable\n\nAvailable representations: "+strings.Join(types, ", "), 0, false)
}

func (c *call) fail(err error) { wire.WriteError(c.w, c.r, err) }

func (c *call) gv() schema.GroupVersion { return c.version.GVK.GroupVersion() }

// accepted settles the format of the answer.
func (c *call) accepted() (wire.Accepted, bool) {
	accepted, err := wire.Negotiate(c.r, c.offer())
	if err != nil {
		c.fail(err)
		return accepted, false
	}
	return accepted, true
}

func (c *call) offer() wire.Offer {
	offer := c.res.Codec.Offer()
	if c.sub != nil && c.sub.Scale != nil {
		return registry.ScaleCodec.Offer()
	}
	if c.sub != nil && c.sub.Create != nil {
		offer.Table = false
	}
	return offer
}

// write is what the registry is told about a write.
func (c *call) write() *registry.Write {
	w := &registry.Write{Version: c.version, Namespace: c.info.Namespace, User: request.UserFrom(c.r.Context())}
	if c.res.Kind.Scope == kinds.Cluster {
		w.Namespace = ""
	}
	if len(c.info.Parts) > 1 {
		w.Name = c.info.Parts[1]
	}
	if c.sub != nil {
		w.Subresource = c.info.Subresource
	}
	return w
}

// answer writes the outcome of a read or a write.
func (c *call) answer(code int, accepted wire.Accepted, result registry.Result) {
	switch {
	case result.Cached != nil:
		c.res.Codec.WriteCached(c.w, c.r, code, accepted, c.gv(), result.Cached)
	case c.sub != nil && c.sub.Scale != nil:
		c.res.ScaleCodec().WriteHub(c.w, c.r, code, accepted, result.Object.GetObjectKind().GroupVersionKind().GroupVersion(), result.Object)
	case result.Object.GetObjectKind().GroupVersionKind() == c.res.Kind.GVK:
		c.res.Codec.WriteHub(c.w, c.r, code, accepted, c.gv(), result.Object)
	default:
		accepted.As = nil
		wire.WriteObject(c.w, c.r, code, accepted, result.Object)
	}
}

// watchTime is how long a watch lasts that names no time itself.
func (h *handler) watchTime() time.Duration {
	return time.Duration(float64(h.MinWatch) * (1 + rand.Float64()))
}
