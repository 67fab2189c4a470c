package openapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/all"
	"github.com/skiff-project/skiff/apiserver/openapi"
)

// custom is a kind that brings its own definitions.
func custom(hash string) *kinds.Kind {
	gvk := schema.GroupVersionKind{Group: "sea.example.com", Version: "v1", Kind: "Boat"}
	empty := func() runtime.Object { return &unstructured.Unstructured{} }
	v := kinds.Version{GVK: gvk, ListKind: "BoatList", New: empty, Schemas: &kinds.Schemas{
		Object: "com.example.sea.v1.Boat", List: "com.example.sea.v1.BoatList", Hash: hash,
		Make: func(v2 bool) (map[string]json.RawMessage, error) {
			ref := "#/components/schemas/"
			if v2 {
				ref = "#/definitions/"
			}
			return map[string]json.RawMessage{
				"com.example.sea.v1.Boat":     json.RawMessage(`{"type":"object","description":"` + hash + `"}`),
				"com.example.sea.v1.BoatList": json.RawMessage(`{"type":"object","properties":{"items":{"type":"array","items":{"$ref":"` + ref + `com.example.sea.v1.Boat"}}}}`),
			}, nil
		}}}
	return &kinds.Kind{GVK: gvk, ListKind: "BoatList", Resource: "boats", Singular: "boat", Custom: true, New: empty,
		Verbs: []string{"create", "delete", "get", "list", "patch", "update", "watch"}, Served: []kinds.Version{v}, Stored: v}
}

func fetch(t *testing.T, h *openapi.Handler, accept, etag string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
	r.Header.Set("Accept", accept)
	r.Header.Set("If-None-Match", etag)
	w := httptest.NewRecorder()
	h.Paths()["/openapi/v2"].ServeHTTP(w, r)
	return w
}

// The document of version 2 changes with custom kinds, is the same in both forms, and is the old one when they go.
func TestCustomKindsInVersion2(t *testing.T) {
	table := all.All
	disco := discovery.New(table, "")
	h := openapi.New(disco)
	plain := fetch(t, h, "application/json", "")
	disco.Set(append(table[:len(table):len(table)], custom("one")))
	h.Set(disco)
	w := fetch(t, h, "application/json", plain.Header().Get("Etag"))
	if w.Code != http.StatusOK {
		t.Fatalf("the document did not change: %d", w.Code)
	}
	var doc struct {
		Swagger     string
		Paths       map[string]any
		Definitions map[string]struct{ Description string }
		Security    []any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Swagger != "2.0" || doc.Definitions["com.example.sea.v1.Boat"].Description != "one" || doc.Paths["/apis/sea.example.com/v1/boats/{name}"] == nil ||
		doc.Paths["/api/v1/pods"] == nil || len(doc.Definitions) < 500 || len(doc.Security) != 1 {
		t.Errorf("the document lacks something: %d paths, %d definitions", len(doc.Paths), len(doc.Definitions))
	}
	const protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
	message := &openapi_v2.Document{}
	if err := proto.Unmarshal(fetch(t, h, protobuf, "").Body.Bytes(), message); err != nil {
		t.Fatal(err)
	}
	if len(message.GetPaths().GetPath()) != len(doc.Paths) || len(message.GetDefinitions().GetAdditionalProperties()) != len(doc.Definitions) {
		t.Errorf("protobuf has %d paths and %d definitions, JSON %d and %d", len(message.GetPaths().GetPath()),
			len(message.GetDefinitions().GetAdditionalProperties()), len(doc.Paths), len(doc.Definitions))
	}
	disco.Set(append(table[:len(table):len(table)], custom("two")))
	h.Set(disco)
	if fetch(t, h, "application/json", w.Header().Get("Etag")).Code != http.StatusOK {
		t.Error("another schema does not change the document")
	}
	disco.Set(table)
	h.Set(disco)
	if code := fetch(t, h, "application/json", plain.Header().Get("Etag")).Code; code != http.StatusNotModified {
		t.Errorf("without custom kinds: %d", code)
	}
}

func BenchmarkVersion2AfterAChange(b *testing.B) {
	table := all.All
	disco := discovery.New(table, "")
	h := openapi.New(disco)
	for _, form := range []struct{ name, accept string }{{"json", "application/json"}, {"protobuf", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}} {
		b.Run(form.name, func(b *testing.B) {
			for i := range b.N + 1 {
				if i == 1 {
					b.ResetTimer() // the first makes what is compiled in
				}
				disco.Set(append(table[:len(table):len(table)], custom(string(rune('a'+i%26)))))
				h.Set(disco)
				r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
				r.Header.Set("Accept", form.accept)
				r.Header.Set("Accept-Encoding", "gzip")
				h.Paths()["/openapi/v2"].ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
