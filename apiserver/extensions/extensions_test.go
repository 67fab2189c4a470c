package extensions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

const boats = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.sea.example.com}
spec:
  group: sea.example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Crew, type: integer, jsonPath: .spec.crew}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    selectableFields: [{jsonPath: .spec.color}]
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.crew, labelSelectorPath: .status.selector}
    schema:
      openAPIV3Schema:
        description: A boat.
        type: object
        properties:
          spec:
            type: object
            description: What is wanted.
            x-kubernetes-validations:
            - {rule: "self.crew <= self.seats", messageExpression: "self.crew > 9 ? 'far too many' : 'too many'"}
            properties:
              crew: {type: integer, default: 1}
              seats: {type: integer, default: 4, minimum: 1}
              color: {type: string, enum: [red, white], default: white}
              name:
                type: string
                x-kubernetes-validations: [{rule: self == oldSelf, message: a boat keeps its name}]
              oars:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [side]
                items: {type: object, required: [side], properties: {side: {type: string}, length: {type: integer}}}
              cargo: {type: object, x-kubernetes-preserve-unknown-fields: true}
              port: {x-kubernetes-int-or-string: true}
          status:
            type: object
            properties: {crew: {type: integer}, selector: {type: string}}
`

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func condition(u *unstructured.Unstructured, typ string) (status, reason, message string) {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range list {
		if c := item.(map[string]any); c["type"] == typ {
			return c["status"].(string), c["reason"].(string), c["message"].(string)
		}
	}
	return "", "", ""
}

func client(t *testing.T, cfg *rest.Config) dynamic.Interface {
	t.Helper()
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// define creates a definition and waits until it is established.
func define(t *testing.T, c dynamic.Interface, text string) *unstructured.Unstructured {
	t.Helper()
	u, err := c.Resource(definitions).Create(context.Background(), parse(t, text), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "established", func() bool {
		if u, err = c.Resource(definitions).Get(context.Background(), u.GetName(), metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		status, _, _ := condition(u, "Established")
		return status == "True"
	})
	return u
}

func boat(name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":%q},"spec":%s}`, name, spec)
}

var boatsV1 = schema.GroupVersionResource{Group: "sea.example.com", Version: "v1", Resource: "boats"}

// request sends a body as it is.
func request(t *testing.T, api *apitest.Server, method, path, contentType, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	h, err := rest.HTTPClientFor(api.Config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(method, api.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := h.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

func TestLifeOfADefinition(t *testing.T) {
	api := apitest.Start(t)
	c := client(t, api.Config)
	ctx := context.Background()
	define(t, c, boats)
	fleet := c.Resource(boatsV1).Namespace("default")

	w, err := fleet.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	created, err := fleet.Create(ctx, parse(t, boat("ada", `{"name":"Ada","cargo":{"tea":[1,2.5]},"port":"bow","unknown":1}`)), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"name": "Ada", "crew": int64(1), "seats": int64(4), "color": "white", "port": "bow", "cargo": map[string]any{"tea": []any{int64(1), 2.5}}}
	if got := created.Object["spec"]; !equal(got, want) {
		t.Errorf("pruned and defaulted: %v", got)
	}
	if created.GetGeneration() != 1 {
		t.Errorf("generation %d", created.GetGeneration())
	}
	if e := <-w.ResultChan(); e.Type != "ADDED" || e.Object.(*unstructured.Unstructured).GetName() != "ada" {
		t.Errorf("watch: %v", e)
	}

	// The status has a door of its own, and counts no generation.
	created.Object["status"] = map[string]any{"crew": int64(1), "selector": "a=b", "other": true}
	updated, err := fleet.UpdateStatus(ctx, created, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !equal(updated.Object["status"], map[string]any{"crew": int64(1), "selector": "a=b"}) || updated.GetGeneration() != 1 {
		t.Errorf("status: %v", updated.Object)
	}
	if _, err = fleet.Patch(ctx, "ada", types.MergePatchType, []byte(`{"spec":{"crew":3},"status":{"crew":9}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := fleet.Get(ctx, "ada", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(got.Object, "status", "crew"); n != 1 || got.GetGeneration() != 2 {
		t.Errorf("patched: %v", got.Object)
	}

	// Scale.
	scale, err := fleet.Get(ctx, "ada", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas"); n != 3 || scale.GetKind() != "Scale" {
		t.Errorf("scale: %v", scale.Object)
	}
	if _, err = fleet.Patch(ctx, "ada", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}

	// Field selectors and tables.
	if _, err := fleet.Create(ctx, parse(t, boat("red", `{"color":"red"}`)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := fleet.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=red"})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "red" || list.GetKind() != "BoatList" {
		t.Errorf("selected: %v, %v", list, err)
	}
	if _, err := fleet.List(ctx, metav1.ListOptions{FieldSelector: "spec.crew=1"}); err == nil || !strings.Contains(err.Error(), "field label not supported: spec.crew") {
		t.Errorf("unknown selector: %v", err)
	}
	_, _, body := request(t, api, "GET", "/apis/sea.example.com/v1/namespaces/default/boats/ada", "", "", "Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
	var table metav1.Table
	if err := json.Unmarshal([]byte(body), &table); err != nil {
		t.Fatal(err)
	}
	if len(table.ColumnDefinitions) != 3 || fmt.Sprint(table.Rows[0].Cells) != "[ada 2 white]" {
		t.Errorf("table: %s", body)
	}

	// An object with a finalizer holds its definition.
	if _, err := fleet.Patch(ctx, "red", types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/hold"]}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Resource(definitions).Delete(ctx, "boats.sea.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one boat left", func() bool {
		list, err := fleet.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 1
	})
	if _, err := fleet.Create(ctx, parse(t, boat("late", `{}`)), metav1.CreateOptions{}); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), "create not allowed while custom resource definition is terminating") {
		t.Errorf("create while terminating: %v", err)
	}
	if _, err := fleet.Patch(ctx, "red", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "definition gone", func() bool {
		_, err := c.Resource(definitions).Get(ctx, "boats.sea.example.com", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	eventually(t, "kind gone", func() bool {
		code, _, _ := request(t, api, "GET", "/apis/sea.example.com/v1/boats", "", "")
		return code == http.StatusNotFound
	})
	eventually(t, "watch ends", func() bool {
		select {
		case _, open := <-w.ResultChan():
			return !open
		default:
			return false
		}
	})
}

func equal(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

func TestRefusals(t *testing.T) {
	api := apitest.Start(t)
	c := client(t, api.Config)
	define(t, c, boats)
	const path = "/apis/sea.example.com/v1/namespaces/default/boats"
	if code, _, body := request(t, api, "POST", path, "application/json", boat("ada", `{"name":"Ada","oars":[{"side":"left"}]}`)); code != 201 {
		t.Fatal(body)
	}
	rv := func() string {
		u, err := c.Resource(boatsV1).Namespace("default").Get(context.Background(), "ada", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return u.GetResourceVersion()
	}
	for _, test := range []struct {
		name, method, path, media, body string
		code                            int
		want                            string
	}{
		{"strict", "POST", path + "?fieldValidation=Strict", "", boat("x", `{"crow":1,"crew":1,"crew":2}`), 400,
			`Boat in version "v1" cannot be handled as a Boat: strict decoding error: duplicate field "spec.crew", unknown field "spec.crow"`},
		{"schema", "POST", path, "", boat("x", `{"color":"blue"}`), 422, `spec.color: Unsupported value: "blue": supported values: "red", "white"`},
		{"type", "POST", path, "", boat("x", `{"crew":"two"}`), 422, `spec.crew: Invalid value: "string": spec.crew in body must be of type integer: "string"`},
		{"rule", "POST", path, "", boat("x", `{"crew":5}`), 422, `spec: Invalid value: too many`},
		{"transition rule", "PATCH", path + "/ada", "application/merge-patch+json", `{"spec":{"name":"Eve"}}`, 422, `spec.name: Invalid value: "Eve": a boat keeps its name`},
		{"list map", "POST", path, "", boat("x", `{"oars":[{"side":"a"},{"side":"a"}]}`), 422, `spec.oars[1]: Duplicate value: {"side":"a"}`},
		{"other kind", "POST", path, "", strings.Replace(boat("x", `{}`), "Boat", "Ship", 1), 422, `Ship.sea.example.com "x" is invalid: kind: Invalid value: "Ship": must be Boat`},
		{"other kind by patch", "PATCH", path + "/ada", "application/merge-patch+json", `{"kind":"Ship"}`, 422, `Ship.sea.example.com "ada" is invalid: kind: Invalid value: "Ship": must be Boat`},
		{"negative scale", "PATCH", path + "/ada/scale", "application/merge-patch+json", `{"spec":{"replicas":-1}}`, 422, `Boat.sea.example.com "ada" is invalid: .spec.crew: Invalid value: -1: should be a non-negative integer`},
		{"unknown subresource", "GET", path + "/ada/sail", "", "", 404, `boats.sea.example.com "ada" not found`},
		{"other version", "POST", path, "", strings.Replace(boat("x", `{}`), "/v1", "/v2", 1), 400,
			`the API version in the data (sea.example.com/v2) does not match the expected API version (sea.example.com/v1)`},
		{"strategic merge patch", "PATCH", path + "/ada", "application/strategic-merge-patch+json", `{}`, 415,
			`the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml`},
		{"no revision", "PUT", path + "/ada", "", boat("ada", `{}`), 422, `metadata.resourceVersion: Invalid value: 0: must be specified for an update`},
		{"protobuf", "POST", path, "application/vnd.kubernetes.protobuf", "k8s\x00", 415, ``},
		{"apply of an unknown field", "PATCH", path + "/new?fieldManager=me", "application/apply-patch+yaml", boat("new", `{"crow":1}`), 500, `.spec.crow: field not declared in schema`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.media == "" {
				test.media = "application/json"
			}
			code, _, body := request(t, api, test.method, test.path, test.media, test.body)
			var status metav1.Status
			_ = json.Unmarshal([]byte(body), &status)
			if code != test.code || !strings.Contains(status.Message, test.want) {
				t.Errorf("%d %s", code, body)
			}
		})
	}
	_, header, _ := request(t, api, "POST", path, "application/json", boat("warned", `{"crow":1}`))
	if got := header.Values("Warning"); len(got) != 1 || got[0] != `299 - "unknown field \"spec.crow\""` {
		t.Errorf("warnings: %q", got)
	}
	code, _, body := request(t, api, "PUT", path+"/ada", "application/json",
		`{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"ada","resourceVersion":"`+rv()+`"},"spec":{"name":"Ada","crew":2}}`)
	if code != 200 {
		t.Error(body)
	}
}

func TestApply(t *testing.T) {
	api := apitest.Start(t)
	c := client(t, api.Config)
	define(t, c, boats)
	fleet := c.Resource(boatsV1).Namespace("default")
	apply := func(manager, body string) (*unstructured.Unstructured, error) {
		return fleet.Patch(context.Background(), "ada", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: manager})
	}
	if _, err := apply("one", boat("ada", `{"crew":2,"oars":[{"side":"left","length":3}]}`)); err != nil {
		t.Fatal(err)
	}
	u, err := apply("two", boat("ada", `{"oars":[{"side":"right","length":4}]}`))
	if err != nil {
		t.Fatal(err)
	}
	oars, _, _ := unstructured.NestedSlice(u.Object, "spec", "oars")
	if len(oars) != 2 {
		t.Errorf("oars: %v", oars)
	}
	if _, err := apply("two", boat("ada", `{"crew":3}`)); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .spec.crew`) {
		t.Errorf("conflict: %v", err)
	}
	u, err = apply("one", boat("ada", `{"crew":2}`))
	if err != nil {
		t.Fatal(err)
	}
	if oars, _, _ = unstructured.NestedSlice(u.Object, "spec", "oars"); len(oars) != 1 {
		t.Errorf("what nobody applies any more is still there: %v", oars)
	}
}

// Two definitions of a group want the same name: the second gets it when the first is gone.
func TestNames(t *testing.T) {
	api := apitest.Start(t)
	c := client(t, api.Config)
	ctx := context.Background()
	define(t, c, boats)
	rival := strings.NewReplacer("boats", "bateaux", "singular: boat,", "singular: bateau,", "kind: Boat", "kind: Bateau").Replace(boats)
	if _, err := c.Resource(definitions).Create(ctx, parse(t, rival), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var u *unstructured.Unstructured
	eventually(t, "refused", func() bool {
		u, _ = c.Resource(definitions).Get(ctx, "bateaux.sea.example.com", metav1.GetOptions{})
		status, _, _ := condition(u, "NamesAccepted")
		return status == "False"
	})
	if _, reason, message := condition(u, "NamesAccepted"); reason != "ShortNamesConflict" || message != `"bt" is already in use` {
		t.Errorf("%s: %s", reason, message)
	}
	if status, reason, _ := condition(u, "Established"); status != "False" || reason != "NotAccepted" {
		t.Errorf("established: %s %s", status, reason)
	}
	if err := c.Resource(definitions).Delete(ctx, "boats.sea.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "accepted", func() bool {
		u, _ = c.Resource(definitions).Get(ctx, "bateaux.sea.example.com", metav1.GetOptions{})
		status, _, _ := condition(u, "Established")
		return status == "True"
	})
}

// Whatever one server does, the other serves at once.
func TestTwoServers(t *testing.T) {
	first := apitest.Start(t)
	second := first.Second()
	ctx := context.Background()
	a, b := client(t, first.Config), client(t, second.Config)
	define(t, a, boats)
	if _, err := b.Resource(boatsV1).Namespace("default").Create(ctx, parse(t, boat("ada", `{}`)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Resource(boatsV1).Namespace("default").Get(ctx, "ada", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Resource(definitions).Delete(ctx, "boats.sea.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, api := range []*apitest.Server{first, second} {
		eventually(t, "kind gone", func() bool {
			code, _, _ := request(t, api, "GET", "/apis/sea.example.com/v1/boats", "", "")
			return code == http.StatusNotFound
		})
	}
}

// Documents follow the definitions.
func TestDocuments(t *testing.T) {
	api := apitest.Start(t)
	c := client(t, api.Config)
	define(t, c, boats)
	_, _, body := request(t, api, "GET", "/apis", "", "", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	for _, text := range []string{`"resource":"boats","responseKind":{"group":"sea.example.com","version":"v1","kind":"Boat"},"scope":"Namespaced","singularResource":"boat"`,
		`{"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},"verbs":["get","patch","update"]}`} {
		if !strings.Contains(body, text) {
			t.Errorf("discovery has no %s", text)
		}
	}
	_, head, body := request(t, api, "GET", "/openapi/v2", "", "")
	var v2 struct {
		Definitions map[string]json.RawMessage
		Paths       map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(body), &v2); err != nil {
		t.Fatal(err)
	}
	if v2.Definitions["com.example.sea.v1.Boat"] == nil || v2.Definitions["com.example.sea.v1.BoatList"] == nil || v2.Paths["/apis/sea.example.com/v1/boats"] == nil {
		t.Error("version 2 does not describe boats")
	}
	_, _, body = request(t, api, "GET", "/openapi/v3/apis/sea.example.com/v1", "", "")
	if !strings.Contains(body, `"#/components/schemas/com.example.sea.v1.Boat"`) || !strings.Contains(body, `"fieldValidation"`) {
		t.Error("version 3 does not describe boats")
	}
	if err := c.Resource(definitions).Delete(context.Background(), "boats.sea.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "version 2 without boats", func() bool {
		code, _, body := request(t, api, "GET", "/openapi/v2", "", "", "If-None-Match", head.Get("Etag"))
		return code == 200 && !strings.Contains(body, "com.example.sea.v1.Boat")
	})
	if code, _, _ := request(t, api, "GET", "/openapi/v3/apis/sea.example.com/v1", "", ""); code != 404 {
		t.Errorf("version 3 of what is gone: %d", code)
	}
}
