package discovery

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// Handler answers below /api and /apis. Documents are made when they are first asked for.
type Handler struct {
	// address is where the server says it is.
	address string

	mu     sync.Mutex
	groups []Group
	docs   map[string]*document
}

// document is an answer, encoded.
type document struct {
	json, proto []byte
	etag        string
}

// New makes a handler for a table of kinds. address is host:port of the server.
func New(table []*kinds.Kind, address string) *Handler {
	h := &Handler{address: address}
	h.Set(table)
	return h
}

// Set replaces the table, when kinds come or go. more is what other servers have; where they serve versions of a group
// that this one has too, the group is one.
func (h *Handler) Set(table []*kinds.Kind, more ...Group) {
	gs := groups(table)
	for _, g := range more {
		if i := slices.IndexFunc(gs, func(own Group) bool { return own.Name == g.Name }); i >= 0 {
			gs[i].Versions = append(gs[i].Versions, g.Versions...)
		} else {
			gs = append(gs, g)
		}
	}
	slices.SortFunc(gs, compareGroups)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.groups, h.docs = gs, map[string]*document{}
}

// Groups are all groups but the core one.
func (h *Handler) Groups() []Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.groups), func(g Group) bool { return g.Name == "" })
}

// Paths are those of groups and versions, for the list at /.
func (h *Handler) Paths() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []string{"/api", "/apis"}
	for _, g := range h.groups {
		base := "/apis/" + g.Name
		if g.Name == "" {
			base = "/api"
		}
		out = append(out, base)
		for _, v := range g.Versions {
			out = append(out, base+"/"+v.Version)
		}
	}
	return out
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET")
		http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if len(parts) == 1 {
		w.Header().Add("Vary", "Accept")
		if media := wantsAggregated(r.Header.Get("Accept")); media != "" {
			h.serveAggregated(w, r, parts[0] == "api", media)
			return
		}
	}
	obj := h.object(parts)
	if obj == nil {
		h.notFound(w, r, parts)
		return
	}
	accepted, err := wire.Negotiate(r, wire.Plain)
	if err != nil {
		if len(parts) > 1 { // the roots choose between two documents before they choose a format, and say another thing
			err = apierrors.NewGenericServerResponse(http.StatusNotAcceptable, "", schema.GroupResource{}, "",
				"406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf", 0, false)
		}
		wire.WriteError(w, r, err)
		return
	}
	wire.WriteObject(w, r, http.StatusOK, accepted, obj)
}

// notFound answers as upstream does: below a group that exists with a Status, elsewhere with a page.
func (h *Handler) notFound(w http.ResponseWriter, r *http.Request, parts []string) {
	known := parts[0] == "api"
	for _, g := range h.Groups() {
		known = known || len(parts) > 1 && g.Name == parts[1]
	}
	if !known {
		http.NotFound(w, r)
		return
	}
	wire.WriteError(w, r, apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false))
}

// object is the document that is not aggregated, nil where nothing is served.
func (h *Handler) object(parts []string) runtime.Object {
	h.mu.Lock()
	defer h.mu.Unlock()
	find := func(name string) *Group {
		for i := range h.groups {
			if h.groups[i].Name == name {
				return &h.groups[i]
			}
		}
		return nil
	}
	var group *Group
	version := ""
	switch {
	case parts[0] == "api" && len(parts) == 1:
		out := &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: h.address}}}
		if g := find(""); g != nil {
			for _, v := range g.Versions {
				out.Versions = append(out.Versions, v.Version)
			}
		}
		return out
	case parts[0] == "api" && len(parts) == 2:
		group, version = find(""), parts[1]
	case parts[0] == "apis" && len(parts) == 1:
		out := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
		for _, g := range h.groups {
			if g.Name != "" {
				out.Groups = append(out.Groups, apiGroup(g))
			}
		}
		return out
	case len(parts) == 2 && parts[1] != "":
		if g := find(parts[1]); g != nil {
			out := apiGroup(*g)
			out.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			return &out
		}
	case len(parts) == 3 && parts[1] != "":
		group, version = find(parts[1]), parts[2]
	}
	if group == nil {
		return nil
	}
	for _, v := range group.Versions {
		if v.Version == version {
			return resourceList(group.Name, v)
		}
	}
	return nil
}

const (
	jsonType  = "application/json"
	protoType = "application/vnd.kubernetes.protobuf"
	suffix    = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
)

// wantsAggregated is the media type of an aggregated answer; empty where the client likes something else better.
func wantsAggregated(accept string) string {
	for _, clause := range goautoneg.ParseAccept(accept) {
		media := clause.Type + "/" + clause.SubType
		if media != jsonType && media != protoType && media != "*/*" && media != "application/*" && media != "application/yaml" {
			continue
		}
		if clause.Params["as"] == "" && clause.Params["g"] == "" && clause.Params["v"] == "" {
			return "" // the plain documents
		}
		if clause.Params["as"] == "APIGroupDiscoveryList" && clause.Params["g"] == "apidiscovery.k8s.io" && clause.Params["v"] == "v2" &&
			(media == jsonType || media == protoType) {
			return media
		}
	}
	return ""
}

func (h *Handler) serveAggregated(w http.ResponseWriter, r *http.Request, core bool, media string) {
	doc, err := h.document(core)
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	w.Header().Set("Etag", doc.etag)
	if r.Header.Get("If-None-Match") == doc.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", media+suffix)
	body := doc.json
	if media == protoType {
		body = doc.proto
	}
	wire.WriteBody(w, r, http.StatusOK, media+suffix, body)
}

func (h *Handler) document(core bool) (*document, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := "apis"
	if core {
		key = "api"
	}
	if doc := h.docs[key]; doc != nil {
		return doc, nil
	}
	gs := slices.DeleteFunc(slices.Clone(h.groups), func(g Group) bool { return (g.Name == "") != core })
	list := aggregated(gs)
	doc := &document{}
	var err error
	if doc.json, err = json.Marshal(list); err != nil {
		return nil, fmt.Errorf("encode discovery: %w", err)
	}
	if doc.proto, err = wire.Encode(list, wire.Protobuf); err != nil {
		return nil, fmt.Errorf("encode discovery: %w", err)
	}
	doc.etag = fmt.Sprintf(`"%X"`, sha512.Sum512(doc.json))
	h.docs[key] = doc
	return doc, nil
}

// All are all groups, the core one among them.
func (h *Handler) All() []Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.groups)
}
