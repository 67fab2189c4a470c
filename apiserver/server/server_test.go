package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/apiserver/apitest"
)

var ctx = context.Background()

func request(t *testing.T, c *rest.Config, method, path string, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	client, err := rest.HTTPClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(method, c.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestPaths(t *testing.T) {
	api := apitest.Start(t)
	admin, bob, nobody := api.Config, api.As("bob"), api.Anonymous()
	for _, c := range []struct {
		name   string
		as     *rest.Config
		path   string
		code   int
		body   string
		header string
	}{
		{"everybody sees health", nobody, "/readyz", 200, "ok", ""},
		{"lines on demand", nobody, "/livez?verbose", 200, "[+]ping ok\n[+]log ok\n[+]etcd ok\n", ""},
		{"a check left out", nobody, "/readyz?verbose&exclude=etcd", 200, "[+]etcd excluded: ok\n", ""},
		{"a check that is not there", nobody, "/healthz?verbose&exclude=x", 200, `warn: some health checks cannot be excluded: no matches for "x"`, ""},
		{"one check is for those who may", admin, "/readyz/poststarthook/rbac/bootstrap-roles", 200, "ok", ""},
		{"one check is not for others", nobody, "/livez/ping", 403, `forbidden: User \"system:anonymous\" cannot get path \"/livez/ping\"`, ""},
		{"version", nobody, "/version", 200, `"gitVersion": "v1.37.2+skiff"`, ""},
		{"the list of paths", admin, "/", 200, `"/apis/apps/v1",`, ""},
		{"metrics", admin, "/metrics", 200, "apiserver_request_total{", ""},
		{"metrics are not for others", bob, "/metrics", 403, "", ""},
		{"profiles", admin, "/debug/pprof/cmdline", 200, "", ""},
		{"keys", admin, "/openid/v1/jwks", 200, `"kty":"RSA"`, ""},
		{"issuer", admin, "/.well-known/openid-configuration", 200, `"issuer":"https://kubernetes.default.svc.cluster.local"`, ""},
		{"no such path", admin, "/nosuch", 404, "404 page not found", ""},
		{"a refusal", bob, "/api/v1/namespaces/x/pods/p/log", 403,
			`"message":"pods \"p\" is forbidden: User \"bob\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"x\""`, "X-Content-Type-Options"},
		{"a bad time-out", admin, "/api/v1/pods?timeout=x", 400, `invalid timeout specified in the request URL`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := request(t, c.as, "GET", c.path, "")
			if resp.StatusCode != c.code || !strings.Contains(body, c.body) {
				t.Errorf("%s: %s", resp.Status, body)
			}
			if resp.Header.Get("Audit-Id") == "" || resp.Header.Get("Cache-Control") == "" || c.header != "" && resp.Header.Get(c.header) == "" {
				t.Errorf("headers: %v", resp.Header)
			}
		})
	}
	resp, _ := request(t, bob, "GET", "/apis", "", "Audit-Id", "mine")
	if resp.Header.Get("Audit-Id") != "mine" {
		t.Errorf("headers: %v", resp.Header)
	}
}

func TestAuditLog(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/*"]
- level: RequestResponse
  resources: [{group: "", resources: [configmaps]}]
  omitManagedFields: true
- level: Metadata
  users: [bob]
- level: None
`), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "audit.log")
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) { c.AuditPolicy, c.AuditLog = policy, file }))
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"k": "v"}}
	if _, err := api.Client().CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _ = api.ClientFor(api.As("bob")).CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	as := rest.CopyConfig(api.Config)
	as.Impersonate.UserName = "bob"
	_, _ = api.ClientFor(as).CoreV1().ConfigMaps("default").Get(ctx, "c", metav1.GetOptions{})
	var events []auditv1.Event
	apitest.Eventually(t, func() error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		events = nil
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			var e auditv1.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				return err
			}
			events = append(events, e)
		}
		if len(events) < 3 {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	if len(events) != 3 {
		t.Fatalf("%d events", len(events))
	}
	e := events[0]
	if e.Verb != "create" || e.ObjectRef.Resource != "configmaps" || e.ResponseStatus.Code != 201 || e.User.Username != "admin" || e.Stage != "ResponseComplete" ||
		e.RequestObject == nil || !bytes.Contains(e.RequestObject.Raw, []byte(`"k":"v"`)) || e.ResponseObject == nil ||
		bytes.Contains(e.ResponseObject.Raw, []byte("managedFields")) || e.Annotations["authorization.k8s.io/decision"] != "allow" {
		text, _ := json.Marshal(e)
		t.Errorf("create: %s", text)
	}
	if e := events[1]; e.ResponseStatus.Code != 403 || e.Annotations["authorization.k8s.io/decision"] != "forbid" || e.RequestObject != nil {
		t.Errorf("refused: %+v", e)
	}
	if e := events[2]; e.User.Username != "admin" || e.ImpersonatedUser == nil || e.ImpersonatedUser.Username != "bob" {
		t.Errorf("impersonated: %+v", e)
	}
}

func TestStopEndsWatchesAndLetsRequestsEnd(t *testing.T) {
	api := apitest.Start(t)
	w, err := api.Client().CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	api.Stop()
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("the stop took %s: it waited for the watch", took)
	}
	deadline := time.After(5 * time.Second)
	for {
		select {
		case _, open := <-w.ResultChan():
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the watch goes on")
		}
	}
}
