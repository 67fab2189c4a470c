package audit

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/skiff-project/skiff/apiserver/request"
)

func policy(t *testing.T, text string) (*auditv1.Policy, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadPolicy(path)
}

func TestFirstRuleThatMatches(t *testing.T) {
	p, err := policy(t, `
omitManagedFields: true
omitStages: [RequestReceived]
rules:
- {level: None, users: [quiet]}
- {level: None, userGroups: [silent], verbs: [get]}
- {level: RequestResponse, resources: [{group: "", resources: [pods/log, "*/scale"]}]}
- {level: Request, resources: [{group: "", resources: [secrets], resourceNames: [one]}], omitStages: [ResponseStarted], omitManagedFields: false}
- {level: Metadata, resources: [{group: apps}], namespaces: [here]}
- {level: Metadata, nonResourceURLs: ["/healthz*", /version]}
`)
	if err != nil {
		t.Fatal(err)
	}
	res := func(verb, group, namespace, resource, sub, name string) *request.Info {
		return &request.Info{IsResource: true, Verb: verb, Group: group, Namespace: namespace, Resource: resource, Subresource: sub, Name: name}
	}
	for _, tt := range []struct {
		name string
		user *request.User
		info *request.Info
		want auditv1.Level
	}{
		{"a user", &request.User{Name: "quiet"}, res("get", "", "x", "pods", "log", "p"), auditv1.LevelNone},
		{"a group and a verb", &request.User{Groups: []string{"silent"}}, res("get", "", "x", "pods", "log", "p"), auditv1.LevelNone},
		{"the group and another verb", &request.User{Groups: []string{"silent"}}, res("delete", "", "x", "pods", "log", "p"), auditv1.LevelRequestResponse},
		{"a subresource of anything", &request.User{}, res("get", "", "x", "replicationcontrollers", "scale", "r"), auditv1.LevelRequestResponse},
		{"the resource itself", &request.User{}, res("get", "", "x", "pods", "", "p"), auditv1.LevelNone},
		{"a name", &request.User{}, res("get", "", "x", "secrets", "", "one"), auditv1.LevelRequest},
		{"another name", &request.User{}, res("get", "", "x", "secrets", "", "two"), auditv1.LevelNone},
		{"all of a group", &request.User{}, res("get", "apps", "here", "deployments", "status", "d"), auditv1.LevelMetadata},
		{"another namespace", &request.User{}, res("get", "apps", "there", "deployments", "", "d"), auditv1.LevelNone},
		{"a path's beginning", &request.User{}, &request.Info{Path: "/healthz/etcd"}, auditv1.LevelMetadata},
		{"a path", &request.User{}, &request.Info{Path: "/version"}, auditv1.LevelMetadata},
		{"a longer path", &request.User{}, &request.Info{Path: "/version/x"}, auditv1.LevelNone},
		{"nobody yet", nil, res("get", "", "x", "secrets", "", "one"), auditv1.LevelRequest},
	} {
		if got := judge(p, tt.user, tt.info); got.level != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got.level, tt.want)
		}
	}
	v := judge(p, nil, res("get", "", "x", "secrets", "", "one"))
	if v.omitManaged || !slices.Contains(v.omit, auditv1.StageRequestReceived) || !slices.Contains(v.omit, auditv1.StageResponseStarted) {
		t.Errorf("the rule's own wishes: %+v", v)
	}
	if v := judge(p, nil, res("get", "apps", "here", "deployments", "", "d")); !v.omitManaged {
		t.Errorf("the policy's wishes: %+v", v)
	}
}

func TestBadPolicies(t *testing.T) {
	for text, want := range map[string]string{
		"rules: []\n": "has no rules", "rules: [{level: All}]\n": `"All" is not one of`, "rule: []\n": `unknown field "rule"`,
		"omitStages: [Later]\nrules: [{level: None}]\n":                         `omitStages: "Later" is not one of`,
		"rules: [{level: None, omitStages: [Later]}]\n":                         `rules[0].omitStages: "Later"`,
		"rules: [{level: None, nonResourceURLs: [/x], namespaces: [a]}]\n":      "rules cannot apply to both",
		"rules: [{level: None, nonResourceURLs: [x]}]\n":                        "must begin with a /",
		"rules: [{level: None, resources: [{group: a, resourceNames: [b]}]}]\n": "requires at least one resource",
	} {
		if _, err := policy(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// lines are the events of a log.
func lines(t *testing.T, path string) (out []auditv1.Event) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var e auditv1.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestStages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	p, err := policy(t, "rules: [{level: RequestResponse}]\n")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(p, FileConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(verb string) (*Entry, http.Header) {
		w := httptest.NewRecorder()
		state := &request.State{AuditID: verb, User: &request.User{Name: "ann"}, Info: &request.Info{Verb: verb, IsResource: true, Resource: "pods"}}
		return l.Begin(w, httptest.NewRequest("GET", "/", nil), state), w.Header()
	}
	// An answer that was compressed on its way is logged as it was meant.
	e, h := begin("list")
	h.Set("Content-Encoding", "gzip")
	h.Set("Content-Type", "application/json")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, `{"kind":"PodList","items":[]}`)
	z.Close()
	e.Tee()(b.Bytes())
	e.End(200)
	e.End(500) // nobody listens
	e, _ = begin("watch")
	e.Began(200)
	e.Began(200)
	e.End(200)
	e, _ = begin("get")
	e.Panicked("ouch")
	e.End(200)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	events := lines(t, path)
	for _, e := range events {
		got = append(got, string(e.AuditID)+" "+string(e.Stage))
	}
	want := []string{"list RequestReceived", "list ResponseComplete", "watch RequestReceived", "watch ResponseStarted", "watch ResponseComplete", "get RequestReceived", "get Panic"}
	if !slices.Equal(got, want) {
		t.Fatalf("stages are %q", got)
	}
	if o := events[1].ResponseObject; o == nil || string(o.Raw) != `{"kind":"PodList","items":[]}` {
		t.Errorf("the compressed answer is %v", o)
	}
	if s := events[6].ResponseStatus; s.Code != 500 || s.Message != "APIServer panic'd: ouch" {
		t.Errorf("the panic's status is %+v", s)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "audit-2001-01-01T00-00-00.000.log")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "audit-mine.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(FileConfig{Path: filepath.Join(dir, "audit.log"), MaxSize: 1, MaxAge: 30, MaxBackups: 10, Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := f.Write(bytes.Repeat([]byte("x"), 600<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "audit*"))
	if err != nil {
		t.Fatal(err)
	}
	packedUp := 0
	for _, name := range files {
		if strings.HasSuffix(name, ".log.gz") {
			packedUp++
		}
	}
	// The current one, four packed ones, and what is not a log; the one of 2001 is too old.
	if packedUp == 0 || packedUp > 4 || slices.Contains(files, old) || !slices.Contains(files, filepath.Join(dir, "audit-mine.log")) || !slices.Contains(files, filepath.Join(dir, "audit.log")) {
		t.Errorf("files are %q", files)
	}
}
