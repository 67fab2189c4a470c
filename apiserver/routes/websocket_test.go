package routes

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestWatchOverWebSocket: every event is a message; the watch ends with its client.
func TestWatchOverWebSocket(t *testing.T) {
	a := start(t)
	a.must("POST", cms, `{"metadata":{"name":"one"}}`)
	for _, c := range []struct {
		accept string
		kind   int
	}{{"", websocket.TextMessage}, {"application/vnd.kubernetes.protobuf", websocket.BinaryMessage}} {
		conn, resp, err := websocket.DefaultDialer.Dial(strings.Replace(a.url, "http", "ws", 1)+cms+"?watch=1", http.Header{"Accept": {c.accept}})
		if err != nil {
			t.Fatalf("%v: %v", err, resp)
		}
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		kind, message, err := conn.ReadMessage()
		if err != nil || kind != c.kind {
			t.Fatalf("%d %v", kind, err)
		}
		if c.kind == websocket.TextMessage {
			var e map[string]any
			if err := json.Unmarshal(message, &e); err != nil || at(e, "type") != "ADDED" || at(e, "object", "metadata", "name") != "one" {
				t.Errorf("%s: %v", message, err)
			}
			a.must("PATCH", cms+"/one", `{"data":{"k":"v"}}`, "Content-Type", "application/merge-patch+json")
			if _, message, err = conn.ReadMessage(); err != nil || !strings.Contains(string(message), `"MODIFIED"`) {
				t.Errorf("%s: %v", message, err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestWatchEndsInTime: a watch lasts as long as it was asked to, and ends without an error.
func TestWatchEndsInTime(t *testing.T) {
	a := start(t)
	began := time.Now()
	got := a.do("GET", cms+"?watch=1&timeoutSeconds=1", "")
	if took := time.Since(began); got.code != http.StatusOK || took < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("%d after %v: %s", got.code, took, got.body)
	}
	old := a.do("GET", "/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1", "")
	if old.code != http.StatusOK || old.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", old.code, old.body)
	}
}
