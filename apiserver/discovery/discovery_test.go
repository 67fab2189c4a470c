package discovery_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/discovery"
	"github.com/skiff-project/skiff/apiserver/kinds/all"
)

const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"

func get(t *testing.T, h http.Handler, path, accept string, into any) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// Everything that is served is discovered as upstream's is, in upstream's order.
func TestSameAsUpstream(t *testing.T) {
	text, err := os.ReadFile("testdata/upstream.json")
	if err != nil {
		t.Fatal(err)
	}
	var upstream map[string]*apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal(text, &upstream); err != nil {
		t.Fatal(err)
	}
	h := discovery.New(all.All, "10.0.0.1:6443")
	for path, want := range upstream {
		var got apidiscoveryv2.APIGroupDiscoveryList
		get(t, h, path, aggregated, &got)
		theirs := map[string]apidiscoveryv2.APIResourceDiscovery{}
		var order []string
		for _, g := range want.Items {
			order = append(order, g.Name)
			for _, v := range g.Versions {
				for _, r := range v.Resources {
					theirs[g.Name+"/"+v.Version+"/"+r.Resource] = r
				}
			}
		}
		next := 0
		for _, g := range got.Items {
			for next < len(order) && order[next] != g.Name {
				next++
			}
			if next == len(order) {
				t.Errorf("%s: group %q is unknown, or out of order (%v)", path, g.Name, order)
				next = 0
			}
			for _, v := range g.Versions {
				for _, r := range v.Resources {
					key := g.Name + "/" + v.Version + "/" + r.Resource
					their, ok := theirs[key]
					if !ok {
						t.Errorf("%s is not upstream's", key)
						continue
					}
					if diff := cmp.Diff(their, r); diff != "" {
						t.Errorf("%s:\n%s", key, diff)
					}
				}
			}
		}
	}
}

func TestEtag(t *testing.T) {
	h := discovery.New(all.All, "10.0.0.1:6443")
	first := get(t, h, "/apis", aggregated, nil)
	r := httptest.NewRequest("GET", "/apis", nil)
	r.Header.Set("Accept", aggregated)
	r.Header.Set("If-None-Match", first.Header().Get("Etag"))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusNotModified {
		t.Errorf("code %d", w.Code)
	}
	h.Set(all.All[:len(all.All)-1])
	w = httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("after a change: code %d", w.Code)
	}
}

func TestPlainDocuments(t *testing.T) {
	h := discovery.New(all.All, "10.0.0.1:6443")
	var versions metav1.APIVersions
	get(t, h, "/api", "application/json", &versions)
	if len(versions.Versions) != 1 || versions.Versions[0] != "v1" {
		t.Errorf("/api: %v", versions)
	}
	var list metav1.APIResourceList
	get(t, h, "/apis/apps/v1", "application/json", &list)
	var names []string
	for _, r := range list.APIResources {
		names = append(names, r.Name)
	}
	want := []string{"controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status",
		"replicasets", "replicasets/scale", "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if got := list.APIResources[0].StorageVersionHash; got != "85nkx63pcBU=" {
		t.Errorf("storage version hash of controller revisions is %q", got)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/apis/nosuch", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("unknown group: %d", w.Code)
	}
}
