package server_test

import (
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// testdata/upstream-metrics.tsv is what kube-apiserver v1.37 shows of itself: names, types and what they mean. Dashboards
// and alerts are made of them.
func TestMetricsHaveUpstreamsNames(t *testing.T) {
	text, err := os.ReadFile("testdata/upstream-metrics.tsv")
	if err != nil {
		t.Fatal(err)
	}
	upstream := map[string][2]string{}
	for line := range strings.Lines(string(text)) {
		if name, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			typ, help, _ := strings.Cut(rest, "\t")
			upstream[name] = [2]string{typ, help}
		}
	}
	// Upstream shows these when they have been counted for the first time.
	for name, typ := range map[string]string{"apiserver_request_aborts_total": "counter", "apiserver_flowcontrol_current_inqueue_requests": "gauge"} {
		if _, ok := upstream[name]; !ok {
			upstream[name] = [2]string{typ, ""}
		}
	}
	api := apitest.Start(t)
	_, _ = request(t, api.Anonymous(), "GET", "/api/v1/pods", "")
	w, err := api.Client().CoreV1().Namespaces().Watch(ctx, metav1.ListOptions{}) // which tells of those that are there
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	<-w.ResultChan()
	// What we show must be what upstream calls so; our own begins with our name.
	_, body := request(t, api.Config, "GET", "/metrics", "")
	shown, helps := map[string]bool{}, map[string]string{}
	for line := range strings.Lines(body) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(words) == 4 && words[1] == "HELP" {
			helps[words[2]] = words[3]
		}
		if len(words) != 4 || words[1] != "TYPE" {
			continue
		}
		name, typ := words[2], words[3]
		shown[name] = true
		if strings.HasPrefix(name, "skiff_") || strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		want, ok := upstream[name]
		switch {
		case !ok:
			t.Errorf("upstream has no %s", name)
		case want[0] != typ:
			t.Errorf("%s is a %s, upstream's a %s", name, typ, want[0])
		case want[1] != "" && want[1] != helps[name]:
			t.Errorf("%s means %q, upstream's %q", name, helps[name], want[1])
		}
	}
	// What the alerts and dashboards of the field look at.
	for _, name := range []string{"apiserver_request_total", "apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds", "apiserver_response_sizes",
		"apiserver_current_inflight_requests", "apiserver_longrunning_requests", "apiserver_watch_events_total", "apiserver_resource_objects", "authenticated_user_requests",
		"authentication_attempts", "authentication_duration_seconds", "authorization_attempts_total", "authorization_duration_seconds",
		"apiserver_flowcontrol_nominal_limit_seats", "kubernetes_build_info", "process_cpu_seconds_total", "process_resident_memory_bytes", "go_goroutines"} {
		if !shown[name] {
			t.Errorf("%s is missing", name)
		}
	}
}
