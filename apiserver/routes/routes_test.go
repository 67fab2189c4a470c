package routes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// A few rows with one of each peculiarity; what the real ones do is tested with them.
var (
	configMap = kinds.Define(kinds.Row[*corev1.ConfigMap]{
		Resource: "configmaps", ShortNames: []string{"cm"}, Scope: kinds.Namespaced,
		ValidateUpdate: func(_ *kinds.Request, obj, old *corev1.ConfigMap) field.ErrorList {
			if old.Immutable != nil && *old.Immutable && (obj.Immutable == nil || !*obj.Immutable) {
				return field.ErrorList{field.Forbidden(field.NewPath("immutable"), "field is immutable when `immutable` is set")}
			}
			return nil
		},
		Columns: []kinds.Column[*corev1.ConfigMap]{
			kinds.NameColumn[*corev1.ConfigMap](),
			{Name: "Data", Type: "integer", Cell: func(c *corev1.ConfigMap) any { return int64(len(c.Data)) }},
			kinds.AgeColumn[*corev1.ConfigMap](),
		},
	})
	pod = kinds.Define(kinds.Row[*corev1.Pod]{
		Resource: "pods", Scope: kinds.Namespaced, ReturnDeleted: true,
		Fields: func(p *corev1.Pod) fields.Set {
			return fields.Set{"spec.nodeName": p.Spec.NodeName, "status.phase": string(p.Status.Phase)}
		},
		Default: func(p *corev1.Pod) {
			if p.Spec.RestartPolicy == "" {
				p.Spec.RestartPolicy = corev1.RestartPolicyAlways
			}
		},
		GracePeriod: func(p *corev1.Pod, opts *metav1.DeleteOptions) (int64, bool) {
			if opts.GracePeriodSeconds != nil {
				return *opts.GracePeriodSeconds, true
			}
			return 30, true
		},
		Columns: kinds.PlainColumns[*corev1.Pod](),
	})
	deployment = kinds.Define(kinds.Row[*appsv1.Deployment]{
		Resource: "deployments", Scope: kinds.Namespaced,
		Scale: &kinds.Scale[*appsv1.Deployment]{
			Get: func(d *appsv1.Deployment) (int32, int32, string) {
				return *d.Spec.Replicas, d.Status.Replicas, metav1.FormatLabelSelector(d.Spec.Selector)
			},
			Set: func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
		},
		Default: func(d *appsv1.Deployment) {
			if d.Spec.Replicas == nil {
				one := int32(1)
				d.Spec.Replicas = &one
			}
		},
		Columns: kinds.PlainColumns[*appsv1.Deployment](),
	})
	namespace = kinds.Define(kinds.Row[*corev1.Namespace]{
		Resource: "namespaces", Scope: kinds.Cluster, ReturnDeleted: true,
		PrepareCreate: func(_ *kinds.Request, n *corev1.Namespace) {
			n.Status.Phase = corev1.NamespaceActive
			n.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		},
		StatusOnCreate: true,
		PrepareDelete:  func(_ *kinds.Request, n *corev1.Namespace) { n.Status.Phase = corev1.NamespaceTerminating },
		HasFinalizers:  func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) > 0 },
		Columns:        kinds.PlainColumns[*corev1.Namespace](),
	})
)

var etcd *storage.Embedded

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	dir, err := os.MkdirTemp("", "routes")
	if err != nil {
		panic(err)
	}
	if etcd, err = storage.StartEmbedded(storage.EmbeddedConfig{DataDir: dir, NoSync: true}); err != nil {
		panic(err)
	}
	code := m.Run()
	etcd.Close()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// api is an API server without its handler chain.
type api struct {
	testing.TB
	url      string
	registry *registry.Registry
	store    *storage.Store
	prefix   string
}

var prefixes int

func start(t testing.TB, rows ...*kinds.Kind) *api {
	prefixes++
	return another(t, fmt.Sprintf("/test%d", prefixes), rows...)
}

// another starts a server on data that other servers may have, too.
func another(t testing.TB, prefix string, rows ...*kinds.Kind) *api {
	if len(rows) == 0 {
		rows = []*kinds.Kind{configMap, pod, deployment, namespace}
	}
	store := storage.New(etcd.Client, storage.Config{Prefix: prefix})
	hub := watchcache.NewHub(watchcache.Config{Store: store})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = hub.Run(ctx) }()
	reg := registry.New(registry.Config{Store: store, Hub: hub, Kinds: rows})
	server := httptest.NewServer(New(Config{Registry: reg}))
	t.Cleanup(func() {
		cancel()
		<-done
		server.Close()
	})
	return &api{TB: t, url: server.URL, registry: reg, store: store, prefix: prefix}
}

type answer struct {
	code   int
	header http.Header
	body   []byte
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(a.body, &out); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	return out
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (a *api) do(method, path, body string, headers ...string) answer {
	a.Helper()
	r, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	r.Header.Set("User-Agent", "routes.test/1")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		a.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

// must is do for requests that have to succeed.
func (a *api) must(method, path, body string, headers ...string) map[string]any {
	a.Helper()
	got := a.do(method, path, body, headers...)
	if got.code >= 300 {
		a.Fatalf("%s %s: %d %s", method, path, got.code, got.body)
	}
	return got.json(a)
}

const cms = "/api/v1/namespaces/default/configmaps"

func TestLifeOfAnObject(t *testing.T) {
	a := start(t)
	made := a.must("POST", cms, `{"metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"}}`)
	if at(made, "kind") != "ConfigMap" || at(made, "metadata", "uid") == nil || at(made, "metadata", "namespace") != "default" {
		t.Fatalf("created: %v", made)
	}
	if m := at(made, "metadata", "managedFields", 0); at(m, "manager") != "routes.test" || at(m, "operation") != "Update" || at(m, "fieldsV1", "f:data", "f:k") == nil {
		t.Errorf("managed fields: %v", m)
	}
	rv := at(made, "metadata", "resourceVersion")
	got := a.must("GET", cms+"/a", "")
	if at(got, "metadata", "resourceVersion") != rv || at(got, "data", "k") != "v" {
		t.Fatalf("read: %v", got)
	}
	again := a.do("POST", cms, `{"metadata":{"name":"a"}}`)
	if again.code != 409 || !strings.Contains(string(again.body), `configmaps \"a\" already exists`) {
		t.Errorf("second create: %d %s", again.code, again.body)
	}
	// The same again writes nothing.
	same := a.must("PUT", cms+"/a", `{"metadata":{"name":"a","labels":{"x":"y"}},"data":{"k":"v"}}`)
	if at(same, "metadata", "resourceVersion") != rv {
		t.Errorf("an update that changes nothing moved the version from %v to %v", rv, at(same, "metadata", "resourceVersion"))
	}
	changed := a.must("PATCH", cms+"/a", `{"data":{"k2":"v2"}}`, "Content-Type", "application/merge-patch+json")
	if at(changed, "data", "k2") != "v2" || at(changed, "metadata", "resourceVersion") == rv {
		t.Fatalf("patched: %v", changed)
	}
	conflict := a.do("PUT", cms+"/a", fmt.Sprintf(`{"metadata":{"name":"a","resourceVersion":%q}}`, rv))
	want := `Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again`
	if conflict.code != 409 || !strings.Contains(string(conflict.body), want) {
		t.Errorf("conflict: %d %s", conflict.code, conflict.body)
	}
	list := a.must("GET", cms+"?labelSelector=x%3Dy", "")
	if at(list, "kind") != "ConfigMapList" || at(list, "items", 0, "metadata", "name") != "a" || at(list, "items", 0, "kind") != nil {
		t.Errorf("list: %v", list)
	}
	deleted := a.must("DELETE", cms+"/a", "")
	if at(deleted, "kind") != "Status" || at(deleted, "status") != "Success" || at(deleted, "details", "kind") != "configmaps" {
		t.Errorf("deleted: %v", deleted)
	}
	if gone := a.do("GET", cms+"/a", ""); gone.code != 404 || !strings.Contains(string(gone.body), `configmaps \"a\" not found`) {
		t.Errorf("after deletion: %d %s", gone.code, gone.body)
	}
}

func TestProtobufThere_AndBack(t *testing.T) {
	a := start(t)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Data: map[string]string{"a": "b"}}
	raw, err := cm.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	body := append([]byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12"), byte(len(raw)))
	body = append(append(body, raw...), 0x1a, 0, 0x22, 0)
	const pb = "application/vnd.kubernetes.protobuf"
	got := a.do("POST", cms, string(body), "Content-Type", pb, "Accept", pb)
	if got.code != 201 || got.header.Get("Content-Type") != pb || !bytes.HasPrefix(got.body, []byte("k8s\x00")) {
		t.Fatalf("%d %q", got.code, got.body)
	}
	list := a.do("GET", cms, "", "Accept", pb)
	var l corev1.ConfigMapList
	i := bytes.Index(list.body, []byte("ConfigMapList\x12"))
	if i < 0 {
		t.Fatalf("%q", list.body)
	}
	rest := list.body[i+len("ConfigMapList\x12"):]
	n, size := uvarint(rest)
	if err := l.Unmarshal(rest[size : size+n]); err != nil {
		t.Fatal(err)
	}
	if len(l.Items) != 1 || l.Items[0].Data["a"] != "b" || l.ResourceVersion == "" {
		t.Errorf("%+v", l)
	}
}

func uvarint(b []byte) (n, size int) {
	for shift := 0; ; shift += 7 {
		n |= int(b[size]&0x7f) << shift
		size++
		if b[size-1] < 0x80 {
			return n, size
		}
	}
}

func TestApply(t *testing.T) {
	a := start(t)
	const apply = "application/apply-patch+yaml"
	made := a.do("PATCH", cms+"/s?fieldManager=one", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {k: v}\n", "Content-Type", apply)
	if made.code != 201 {
		t.Fatalf("%d %s", made.code, made.body)
	}
	conflict := a.do("PATCH", cms+"/s?fieldManager=two", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {k: w}\n", "Content-Type", apply)
	if conflict.code != 409 || !strings.Contains(string(conflict.body), `Apply failed with 1 conflict: conflict with \"one\": .data.k`) || !strings.Contains(string(conflict.body), "FieldManagerConflict") {
		t.Errorf("%d %s", conflict.code, conflict.body)
	}
	forced := a.must("PATCH", cms+"/s?fieldManager=two&force=true", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {k: w}\n", "Content-Type", apply)
	if at(forced, "data", "k") != "w" {
		t.Errorf("%v", forced)
	}
	none := a.do("PATCH", cms+"/s", "{}", "Content-Type", apply)
	if none.code != 422 || !strings.Contains(string(none.body), "fieldManager: Required value: is required for apply patch") {
		t.Errorf("%d %s", none.code, none.body)
	}
}

func TestStrictDecoding(t *testing.T) {
	a := start(t)
	const body = `{"metadata":{"name":"x"},"data":{"k":"v"},"unknown":1,"data":{"k":"w"}}`
	strict := a.do("POST", cms+"?fieldValidation=Strict", body)
	want := `ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"unknown\", duplicate field \"data\"`
	if strict.code != 400 || !strings.Contains(string(strict.body), want) {
		t.Errorf("%d %s", strict.code, strict.body)
	}
	warned := a.do("POST", cms+"?dryRun=All", body)
	if warned.code != 201 || strings.Join(warned.header.Values("Warning"), "|") != `299 - "unknown field \"unknown\""|299 - "duplicate field \"data\""` {
		t.Errorf("%d %q", warned.code, warned.header.Values("Warning"))
	}
	ignored := a.do("POST", cms+"?dryRun=All&fieldValidation=Ignore", body)
	if ignored.code != 201 || len(ignored.header.Values("Warning")) != 0 {
		t.Errorf("%d %q", ignored.code, ignored.header.Values("Warning"))
	}
	if got := a.do("GET", cms+"/x", ""); got.code != 404 {
		t.Errorf("a dry run wrote: %s", got.body)
	}
}

func TestGracefulDeletion(t *testing.T) {
	a := start(t)
	const pods = "/api/v1/namespaces/default/pods"
	a.must("POST", pods, `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	marked := a.must("DELETE", pods+"/p", "")
	if at(marked, "kind") != "Pod" || at(marked, "metadata", "deletionTimestamp") == nil || at(marked, "metadata", "deletionGracePeriodSeconds") != 30.0 {
		t.Fatalf("marked: %v", marked)
	}
	shorter := a.must("DELETE", pods+"/p", `{"gracePeriodSeconds":5}`)
	if at(shorter, "metadata", "deletionGracePeriodSeconds") != 5.0 {
		t.Errorf("shorter: %v", shorter)
	}
	a.must("DELETE", pods+"/p?gracePeriodSeconds=0", "")
	if got := a.do("GET", pods+"/p", ""); got.code != 404 {
		t.Errorf("still there: %s", got.body)
	}
}

func TestFinalizers(t *testing.T) {
	a := start(t)
	a.must("POST", cms, `{"metadata":{"name":"f","finalizers":["example.com/x"]}}`)
	marked := a.must("DELETE", cms+"/f?propagationPolicy=Foreground", "")
	if at(marked, "metadata", "deletionTimestamp") == nil || at(marked, "metadata", "finalizers", 1) != "foregroundDeletion" {
		t.Fatalf("marked: %v", marked)
	}
	left := a.must("PATCH", cms+"/f", `{"metadata":{"finalizers":null}}`, "Content-Type", "application/merge-patch+json")
	if at(left, "metadata", "finalizers") != nil {
		t.Errorf("%v", left)
	}
	if got := a.do("GET", cms+"/f", ""); got.code != 404 {
		t.Errorf("still there: %s", got.body)
	}
}

func TestScale(t *testing.T) {
	a := start(t)
	const path = "/apis/apps/v1/namespaces/default/deployments"
	a.must("POST", path, `{"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{}}}`)
	scale := a.must("PATCH", path+"/d/scale", `{"spec":{"replicas":3}}`, "Content-Type", "application/merge-patch+json")
	if at(scale, "kind") != "Scale" || at(scale, "spec", "replicas") != 3.0 || at(scale, "status", "selector") != "a=b" {
		t.Errorf("%v", scale)
	}
	d := a.must("GET", path+"/d", "")
	if at(d, "spec", "replicas") != 3.0 || at(d, "metadata", "generation") != 2.0 {
		t.Errorf("%v", d)
	}
	bad := a.do("PATCH", path+"/d/scale", `{"spec":{"replicas":-1}}`, "Content-Type", "application/merge-patch+json")
	if bad.code != 422 || !strings.Contains(string(bad.body), `Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`) {
		t.Errorf("%d %s", bad.code, bad.body)
	}
}

func TestTable(t *testing.T) {
	a := start(t)
	a.must("POST", cms, `{"metadata":{"name":"t","labels":{"l":"m"}},"data":{"k":"v"}}`)
	table := a.must("GET", cms, "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	if at(table, "kind") != "Table" || at(table, "rows", 0, "cells", 0) != "t" || at(table, "rows", 0, "cells", 1) != 1.0 ||
		at(table, "rows", 0, "object", "kind") != "PartialObjectMetadata" || at(table, "rows", 0, "object", "metadata", "labels", "l") != "m" {
		t.Errorf("%v", table)
	}
}

func TestWatch(t *testing.T) {
	a := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", a.url+cms+"?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", nil)
	a.must("POST", cms, `{"metadata":{"name":"one"}}`)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	next := func() map[string]any {
		t.Helper()
		var e map[string]any
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := next(); at(e, "type") != "ADDED" || at(e, "object", "metadata", "name") != "one" || at(e, "object", "kind") != "ConfigMap" {
		t.Errorf("%v", e)
	}
	if e := next(); at(e, "type") != "BOOKMARK" || at(e, "object", "metadata", "annotations", "k8s.io/initial-events-end") != "true" {
		t.Errorf("%v", e)
	}
	a.must("DELETE", cms+"/one", "")
	if e := next(); at(e, "type") != "DELETED" {
		t.Errorf("%v", e)
	}
}

func TestPathsThatAreNone(t *testing.T) {
	a := start(t)
	for _, c := range []struct {
		method, path string
		code         int
		contains     string
	}{
		{"GET", "/api/v1/nonsense", 404, "the server could not find the requested resource"},
		{"GET", "/apis/nonsense/v1/things", 404, "404 page not found"},
		{"PUT", cms, 405, "the server does not allow this method on the requested resource"},
		{"POST", cms + "/a", 405, "MethodNotAllowed"},
		{"GET", cms + "/a/nonsense", 404, "the server could not find the requested resource"},
		{"GET", "/api/v1/namespaces/default/namespaces/x", 404, "could not find"},
		{"GET", "/api/v1/configmaps/x", 404, "could not find"},
		{"GET", cms + "?fieldSelector=nonsense%3Dx", 400, `\"nonsense\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"`},
		{"GET", "/api/v1/pods?fieldSelector=nonsense%3Dx", 400, `field label not supported: nonsense`},
		{"GET", cms + "?limit=x", 400, "invalid syntax"},
		{"GET", cms + "?labelSelector=a%20b", 400, ""},
		{"GET", cms + "?sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"},
		{"DELETE", cms + "/a?propagationPolicy=Bogus", 422, "propagationPolicy"},
	} {
		got := a.do(c.method, c.path, "")
		if got.code != c.code || !strings.Contains(string(got.body), c.contains) {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.code, got.body)
		}
	}
}

func TestNamespaceIsMarkedFirst(t *testing.T) {
	a := start(t)
	a.must("POST", "/api/v1/namespaces", `{"metadata":{"name":"n"}}`)
	marked := a.must("DELETE", "/api/v1/namespaces/n", "")
	if at(marked, "status", "phase") != "Terminating" || at(marked, "metadata", "deletionTimestamp") == nil {
		t.Fatalf("%v", marked)
	}
	if again := a.must("DELETE", "/api/v1/namespaces/n", ""); at(again, "kind") != "Namespace" {
		t.Errorf("%v", again)
	}
}

func TestGeneratedNames(t *testing.T) {
	a := start(t)
	made := a.must("POST", cms, `{"metadata":{"generateName":"g-"}}`)
	if name, _ := at(made, "metadata", "name").(string); !strings.HasPrefix(name, "g-") || len(name) != 7 {
		t.Errorf("%v", made)
	}
}

func TestDeleteCollection(t *testing.T) {
	a := start(t)
	for i := range 20 {
		a.must("POST", cms, fmt.Sprintf(`{"metadata":{"name":"c%d","labels":{"half":"%d"}}}`, i, i%2))
	}
	list := a.must("DELETE", cms+"?labelSelector=half%3D1", "")
	if items, _ := at(list, "items").([]any); len(items) != 10 {
		t.Errorf("%v", list)
	}
	left := a.must("GET", cms, "")
	if items, _ := at(left, "items").([]any); len(items) != 10 {
		t.Errorf("%d left", len(items))
	}
}
