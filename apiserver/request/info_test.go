package request

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		method, url string
		want        Info
	}{
		{"GET", "/api/v1/namespaces", Info{IsResource: true, Verb: "list", APIPrefix: "api", Version: "v1", Resource: "namespaces"}},
		{"GET", "/api/v1/namespaces/x", Info{IsResource: true, Verb: "get", APIPrefix: "api", Version: "v1", Namespace: "x", Resource: "namespaces", Name: "x"}},
		{"PUT", "/api/v1/namespaces/x/finalize", Info{IsResource: true, Verb: "update", APIPrefix: "api", Version: "v1", Namespace: "x", Resource: "namespaces", Name: "x", Subresource: "finalize"}},
		{"GET", "/api/v1/namespaces/x/pods", Info{IsResource: true, Verb: "list", APIPrefix: "api", Version: "v1", Namespace: "x", Resource: "pods"}},
		{"GET", "/api/v1/namespaces/x/pods?watch=1", Info{IsResource: true, Verb: "watch", APIPrefix: "api", Version: "v1", Namespace: "x", Resource: "pods"}},
		{"GET", "/api/v1/namespaces/x/pods?watch=false", Info{IsResource: true, Verb: "list", APIPrefix: "api", Version: "v1", Namespace: "x", Resource: "pods"}},
		{"GET", "/api/v1/watch/namespaces/x/pods/p", Info{IsResource: true, Verb: "watch", APIPrefix: "api", Version: "v1", Namespace: "x", Resource: "pods", Name: "p"}},
		{"GET", "/api/v1/pods?fieldSelector=metadata.name%3Dp", Info{IsResource: true, Verb: "list", APIPrefix: "api", Version: "v1", Resource: "pods", Name: "p", FieldSelector: "metadata.name=p"}},
		{"GET", "/api/v1/pods?fieldSelector=metadata.name%3Da%2Fb", Info{IsResource: true, Verb: "list", APIPrefix: "api", Version: "v1", Resource: "pods", FieldSelector: "metadata.name=a/b"}},
		{"DELETE", "/apis/apps/v1/namespaces/x/deployments", Info{IsResource: true, Verb: "deletecollection", APIPrefix: "apis", Group: "apps", Version: "v1", Namespace: "x", Resource: "deployments"}},
		{"DELETE", "/apis/apps/v1/namespaces/x/deployments/d", Info{IsResource: true, Verb: "delete", APIPrefix: "apis", Group: "apps", Version: "v1", Namespace: "x", Resource: "deployments", Name: "d"}},
		{"POST", "/api/v1/namespaces/x/pods/p/exec", Info{IsResource: true, Verb: "create", APIPrefix: "api", Version: "v1", Namespace: "x", Resource: "pods", Name: "p", Subresource: "exec"}},
		{"GET", "/api/v1/nodes/n/proxy/images/a", Info{IsResource: true, Verb: "get", APIPrefix: "api", Version: "v1", Resource: "nodes", Name: "n", Subresource: "proxy"}},
		{"GET", "/apis/apps/v1", Info{Verb: "get", APIPrefix: "apis"}},
		{"GET", "/apis/apps", Info{Verb: "get"}},
		{"GET", "/api/v1", Info{Verb: "get"}},
		{"GET", "/healthz", Info{Verb: "get"}},
		{"POST", "/", Info{Verb: "post"}},
	} {
		t.Run(c.method+" "+c.url, func(t *testing.T) {
			got, err := Parse(httptest.NewRequest(c.method, c.url, nil))
			if err != nil {
				t.Fatal(err)
			}
			got.Path, got.Parts = "", nil
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefusesAWatchOfNothing(t *testing.T) {
	if _, err := Parse(httptest.NewRequest(http.MethodGet, "/api/v1/watch", nil)); err == nil {
		t.Error("no error")
	}
}
