package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/munnerz/goautoneg"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// Handler answers below /openapi.
type Handler struct {
	mu   sync.Mutex
	docs map[string]*document // by path below /openapi/v3/; "v2" is that of version 2
	// base is the part of version 2 that is compiled in.
	base *document
}

// document is made on demand and kept compressed.
type document struct {
	make func() ([]byte, error)
	hash string
	// base and more, instead of make, are a document and what is put into it.
	base *document
	more func() (paths, defs object, err error)

	mu    sync.Mutex
	gz    []byte
	proto []byte // compressed, too
}

// New describes what discovery shows.
func New(d *discovery.Handler) *Handler {
	h := &Handler{}
	h.Set(d)
	return h
}

// Extra is a document that somebody else makes: of custom resources, say.
type Extra struct {
	GroupVersion schema.GroupVersion
	// Make returns a document of OpenAPI v3. Hash changes whenever it would.
	Make func() ([]byte, error)
	Hash string
	// Apart leaves it out of the document of version 2: whether it can be made depends on another server.
	Apart bool
}

// Set makes the list of documents anew, when kinds come or go. Documents that stay the same are kept.
func (h *Handler) Set(d *discovery.Handler, extra ...Extra) {
	docs := map[string]*document{}
	add := func(path, hash string, f func() ([]byte, error)) {
		docs[path] = &document{make: f, hash: fmt.Sprintf("%X", sha512.Sum512([]byte(typesHash()+path+hash)))}
	}
	const versions, group = metaTypes + "APIVersions", metaTypes + "APIGroup"
	add("api", "", func() ([]byte, error) {
		return simple("/api/", "core", "getCoreAPIVersions", "get available API versions", versions, allTypes)
	})
	add("apis", "", func() ([]byte, error) {
		return simple("/apis/", "apis", "getAPIVersions", "get available API versions", metaTypes+"APIGroupList", allTypes)
	})
	add("version", "", func() ([]byte, error) {
		return simple("/version/", "version", "getCodeVersion", "get the version information for this server", "io.k8s.apimachinery.pkg.version.Info", allTypes[:1])
	})
	w := &whole{groups: d.All()}
	for _, g := range w.groups {
		for _, v := range g.Versions {
			gv := schema.GroupVersion{Group: g.Name, Version: v.Version}
			path := "apis/" + gv.String()
			if g.Name == "" {
				path = "api/" + gv.Version
			}
			if !known(v.Resources) {
				continue // described by an Extra
			}
			add(path, describe(v.Resources), func() ([]byte, error) { return v3(gv, v.Resources) })
			own, custom := apart(v.Resources)
			if len(own) > 0 {
				w.compiledIn = append(w.compiledIn, part{path + describe(own), func() ([]byte, error) { return v3(gv, own) }})
			}
			if len(custom) > 0 {
				w.more = append(w.more, part{path + describe(custom), func() ([]byte, error) { return v3(gv, custom) }})
			}
		}
		if g.Name != "" {
			b := newPaths(nil, schema.GroupVersion{Group: g.Name})
			tag := strings.TrimSuffix(b.tag, "_")
			add("apis/"+g.Name, "", func() ([]byte, error) {
				return simple("/apis/"+g.Name+"/", tag, "get"+b.camel+"APIGroup", "get information of a group", group, allTypes)
			})
		}
	}
	for _, e := range extra {
		path := "apis/" + e.GroupVersion.String()
		add(path, e.Hash, e.Make)
		w.more = append(w.more, part{path + e.Hash, e.Make})
	}
	for _, path := range []string{"api", "apis", "version"} {
		w.compiledIn = append(w.compiledIn, part{docs[path].hash, docs[path].make})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	docs["v2"], h.base = w.document(h.base)
	for path, doc := range docs {
		if old := h.docs[path]; old != nil && old.hash == doc.hash {
			docs[path] = old
		}
	}
	h.docs = docs
}

// apart are the resources that are compiled in, and those that bring their own definitions.
func apart(resources []discovery.Resource) (own, custom []discovery.Resource) {
	for _, r := range resources {
		if r.Version.Schemas != nil {
			custom = append(custom, r)
		} else {
			own = append(own, r)
		}
	}
	return own, custom
}

// typesHash stands for all definitions.
var typesHash = sync.OnceValue(func() string { return fmt.Sprintf("%X", sha512.Sum512(embedded)) })

func known(resources []discovery.Resource) bool {
	for _, r := range resources {
		if r.Version.Schemas != nil || modelNames()[r.Version.GVK] != "" {
			return true
		}
	}
	return false
}

// describe changes whenever the paths of the resources do.
func describe(resources []discovery.Resource) string {
	var out strings.Builder
	for _, r := range resources {
		fmt.Fprintln(&out, r.Kind.Resource, r.Kind.Scope, r.Kind.Verbs, len(r.Kind.SubresourcesOf(r.Version)))
		if r.Version.Schemas != nil {
			fmt.Fprintln(&out, r.Version.Schemas.Hash)
		}
	}
	return out.String()
}

// Paths are what is served.
func (h *Handler) Paths() map[string]http.Handler {
	return map[string]http.Handler{"/openapi/v2": http.HandlerFunc(h.serveV2), "/openapi/v3": http.HandlerFunc(h.serveRoot), "/openapi/v3/": http.HandlerFunc(h.serveV3)}
}

func (h *Handler) document(path string) *document {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.docs[path]
}

func (h *Handler) serveV2(w http.ResponseWriter, r *http.Request) {
	h.document("v2").serve(w, r, []string{"application/com.github.proto-openapi.spec.v2.v1.0+protobuf", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}, v2Proto)
}

func (h *Handler) serveRoot(w http.ResponseWriter, r *http.Request) {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	h.mu.Lock()
	for path, doc := range h.docs {
		if path != "v2" {
			paths[path] = entry{"/openapi/v3/" + path + "?hash=" + doc.hash}
		}
	}
	h.mu.Unlock()
	body, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	w.Header().Set("Etag", fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(body))))
	if r.Header.Get("If-None-Match") == w.Header().Get("Etag") {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	wire.WriteBody(w, r, http.StatusOK, "application/json", body)
}

func (h *Handler) serveV3(w http.ResponseWriter, r *http.Request) {
	doc := h.document(strings.TrimPrefix(r.URL.Path, "/openapi/v3/"))
	if doc == nil || strings.HasSuffix(r.URL.Path, "/v2") && doc == h.document("v2") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if hash := r.URL.Query().Get("hash"); hash != "" {
		if hash != doc.hash {
			// The client has an old list: the address of what is there now is the answer.
			target := *r.URL
			query := target.Query()
			query.Set("hash", doc.hash)
			target.RawQuery = query.Encode()
			http.Redirect(w, r, target.String(), http.StatusMovedPermanently)
			return
		}
		// What is named by its content never changes.
		w.Header().Set("Expires", "Thu, 31 Dec 2099 23:59:59 GMT")
		w.Header().Set("Cache-Control", "public, immutable")
	}
	doc.serve(w, r, []string{"application/com.github.proto-openapi.spec.v3.v1.0+protobuf", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"}, v3Proto)
}

// serve answers in JSON or protobuf, compressed for those who take it so.
func (d *document) serve(w http.ResponseWriter, r *http.Request, protoTypes []string, toProto func([]byte) ([]byte, error)) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET")
		http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	media, proto := negotiate(r.Header.Get("Accept"), protoTypes)
	if media == "" {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	head := w.Header()
	head.Add("Vary", "Accept")
	head.Add("Vary", "Accept-Encoding")
	head.Set("Etag", `"`+d.hash+`"`)
	if r.Header.Get("If-None-Match") == head.Get("Etag") {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if !proto {
		toProto = nil
	}
	body, err := d.compressed(toProto)
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	head.Set("Content-Type", media)
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		head.Set("Content-Encoding", "gzip")
		_, _ = w.Write(body)
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	_, _ = io.Copy(w, z) //nolint:gosec // our own bytes
}

func negotiate(accept string, protoTypes []string) (media string, proto bool) {
	if accept == "" {
		return "application/json", false
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		switch t := clause.Type + "/" + clause.SubType; t {
		case "application/json", "*/*", "application/*":
			return "application/json", false
		default:
			for _, p := range protoTypes {
				if t == p {
					return protoTypes[0], true
				}
			}
		}
	}
	return "", false
}

// compressed makes the document, once for each form.
func (d *document) compressed(toProto func([]byte) ([]byte, error)) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := &d.gz
	if toProto != nil {
		kept = &d.proto
	}
	if *kept != nil {
		return *kept, nil
	}
	var text []byte
	var err error
	level := gzip.DefaultCompression
	if d.base != nil {
		// Such a document is made anew with every change, and read a few times at most.
		level = gzip.BestSpeed
		text, err = d.joined(toProto)
	} else if text, err = d.make(); err == nil && toProto != nil {
		text, err = toProto(text)
	}
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(text)
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, err
	}
	*kept = bytes.Clone(out.Bytes())
	// Making it took many times its size, which the heap would otherwise keep until it is needed again: maybe never.
	go debug.FreeOSMemory()
	return *kept, nil
}
