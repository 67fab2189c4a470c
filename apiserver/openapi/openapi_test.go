package openapi_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"

	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds/all"
	"github.com/skiff-project/skiff/apiserver/openapi"
)

func get(t *testing.T, path string, headers ...string) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	for p, h := range openapi.New(discovery.New(all.All, "x")).Paths() {
		mux.Handle(p, h)
	}
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) []byte {
	t.Helper()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s", resp.Status)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type document struct {
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]map[string]any `json:"properties"`
			Kinds      []map[string]string       `json:"x-kubernetes-group-version-kind"`
			Required   []string                  `json:"required"`
		} `json:"schemas"`
	} `json:"components"`
	Definitions map[string]json.RawMessage `json:"definitions"`
}

func parse(t *testing.T, b []byte) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Every document that the list names is there, names what it refers to, and can be had as protobuf.
func TestEveryDocument(t *testing.T) {
	var root struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(body(t, get(t, "/openapi/v3")), &root); err != nil {
		t.Fatal(err)
	}
	if len(root.Paths) < 20 {
		t.Errorf("only %d documents", len(root.Paths))
	}
	for path, entry := range root.Paths {
		resp := get(t, entry.URL)
		if resp.Header.Get("Cache-Control") != "public, immutable" {
			t.Errorf("%s may not be kept: %v", path, resp.Header)
		}
		text := string(body(t, resp))
		d := parse(t, []byte(text))
		for _, part := range strings.Split(text, `"#/components/schemas/`)[1:] {
			name, _, _ := strings.Cut(part, `"`)
			if _, ok := d.Components.Schemas[name]; !ok {
				t.Errorf("%s refers to %s, which is not in it", path, name)
			}
		}
		if path == "apis/apps/v1" {
			b := body(t, get(t, entry.URL, "Accept", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"))
			if err := proto.Unmarshal(b, &openapi_v3.Document{}); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestWhatKubectlNeeds(t *testing.T) {
	d := parse(t, body(t, get(t, "/openapi/v3/apis/apps/v1")))
	patch := string(d.Paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"])
	for _, want := range []string{`"fieldValidation"`, `"x-kubernetes-group-version-kind":{"group":"apps","kind":"Deployment","version":"v1"}`} {
		if !strings.Contains(patch, want) {
			t.Errorf("PATCH lacks %s", want)
		}
	}
	deployment := d.Components.Schemas["io.k8s.api.apps.v1.Deployment"]
	if len(deployment.Kinds) != 1 || deployment.Kinds[0]["kind"] != "Deployment" {
		t.Errorf("kinds of Deployment: %v", deployment.Kinds)
	}
	containers := d.Components.Schemas["io.k8s.api.core.v1.PodSpec"].Properties["containers"]
	if containers["x-kubernetes-patch-merge-key"] != "name" || containers["x-kubernetes-list-type"] != "map" {
		t.Errorf("containers: %v", containers)
	}
}

func TestCaching(t *testing.T) {
	first := get(t, "/openapi/v3/api/v1")
	if resp := get(t, "/openapi/v3/api/v1", "If-None-Match", first.Header.Get("Etag")); resp.StatusCode != http.StatusNotModified {
		t.Errorf("ETag: %s", resp.Status)
	}
	if resp := get(t, "/openapi/v3/api/v1?hash=OLD"); resp.StatusCode != http.StatusMovedPermanently || !strings.Contains(resp.Header.Get("Location"), "?hash=") {
		t.Errorf("old hash: %s %v", resp.Status, resp.Header)
	}
	resp := get(t, "/openapi/v3/api/v1", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&document{}); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]int{"/openapi/v3/apis/nosuch/v1": 404, "/openapi/v3/v2": 404} {
		if resp := get(t, path); resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if resp := get(t, "/openapi/v2", "Accept", "image/png"); resp.StatusCode != http.StatusNotAcceptable {
		t.Errorf("image: %s", resp.Status)
	}
}

func TestVersion2(t *testing.T) {
	text := body(t, get(t, "/openapi/v2"))
	d := parse(t, text)
	if strings.Contains(string(text), "#/components/") {
		t.Error("references of version 3 are left")
	}
	for name, definition := range d.Definitions {
		var schema any
		if err := json.Unmarshal(definition, &schema); err != nil {
			t.Fatal(err)
		}
		if word := laterKeyword(schema); word != "" {
			t.Errorf("%s has %q, which version 2 does not know", name, word)
		}
	}
	if len(d.Definitions) < 400 || len(d.Paths) < 300 {
		t.Errorf("%d definitions, %d paths", len(d.Definitions), len(d.Paths))
	}
	b := body(t, get(t, "/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"))
	if err := proto.Unmarshal(b, &openapi_v2.Document{}); err != nil {
		t.Error(err)
	}
}

// laterKeyword names a keyword of version 3 in the schema, if there is one. The fields of an object may carry any name:
// a JSONSchemaProps has one that is called allOf.
func laterKeyword(schema any) string {
	switch s := schema.(type) {
	case map[string]any:
		for key, value := range s {
			switch key {
			case "allOf", "anyOf", "oneOf", "not", "nullable":
				return key
			case "properties":
				for _, field := range value.(map[string]any) {
					if word := laterKeyword(field); word != "" {
						return word
					}
				}
			default:
				if word := laterKeyword(value); word != "" {
					return word
				}
			}
		}
	case []any:
		for _, element := range s {
			if word := laterKeyword(element); word != "" {
				return word
			}
		}
	}
	return ""
}
