package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/apiserver/wire"
)

// dial opens a connection that speaks HTTP/1.1, on which requests can be written by hand.
func dial(t *testing.T, api *apitest.Server) *tls.Conn {
	t.Helper()
	return speaking(t, api, "http/1.1")
}

// speaking opens a connection for a protocol.
func speaking(t *testing.T, api *apitest.Server, protocol string) *tls.Conn {
	t.Helper()
	config, err := rest.TLSConfigFor(api.Config)
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = []string{protocol}
	u, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// heap is the memory that is in use, in MB.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse >> 20)
}

// large is an object of about a hundred kilobytes that cannot be compressed.
func large(name string, n int) []byte {
	noise := make([]byte, 75<<10)
	rand.New(rand.NewSource(int64(n))).Read(noise) //nolint:staticcheck // a seed is wanted
	body, _ := json.Marshal(map[string]any{"metadata": map[string]any{"name": name, "namespace": "default"}, "binaryData": map[string][]byte{"noise": noise}})
	return body
}

const maps = "/api/v1/namespaces/default/configmaps"

// unread lets somebody watch who reads nothing, and makes changes of which each watcher would be told 30 MB.
func (c *caller) unread(t *testing.T, watch func()) {
	t.Helper()
	if code := c.send(t, "POST", maps, "application/json", large("x", 0)); code != http.StatusCreated {
		t.Fatal(code)
	}
	watch()
	before := heap()
	for i := range 300 {
		if code := c.send(t, "PUT", maps+"/x", "application/json", large("x", i+1)); code != http.StatusOK {
			t.Fatal(code)
		}
	}
	// The events themselves are kept once, for all watchers.
	if after := heap(); after-before > 150 {
		t.Errorf("the server grew by %d MB", after-before)
	}
}

// Sixty watchers, each with a connection of its own.
func TestWatchersThatDoNotRead(t *testing.T) {
	c := start(t)
	c.unread(t, func() {
		for range 60 {
			conn := dial(t, c.api)
			if _, err := fmt.Fprintf(conn, "GET %s?watch=true&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n", maps); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// impatient is a server that gives a request a second, with n large objects.
func impatient(t *testing.T, n int) *caller {
	t.Helper()
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) { c.RequestTimeout = time.Second }))
	client, err := rest.HTTPClientFor(api.Config)
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{api, client}
	for i := range n {
		if code := c.send(t, "POST", maps, "application/json", large(fmt.Sprintf("x%d", i), i)); code != http.StatusCreated {
			t.Fatal(code)
		}
	}
	return c
}

// Clients that ask for long lists and do not read them are cut off when their time is up.
func TestListsThatNobodyReads(t *testing.T) {
	c := impatient(t, 100)
	api := c.api
	conn := dial(t, api)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", maps); err != nil {
		t.Fatal(err)
	}
	serving := func() string {
		text, err := api.Client().Discovery().RESTClient().Get().AbsPath("/metrics").Do(context.Background()).Raw()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, `apiserver_request_total{`) && strings.Contains(line, `resource="configmaps"`) && strings.Contains(line, `verb="LIST"`) {
				return line
			}
		}
		return ""
	}
	// A request is counted when it has ended.
	eventually(t, 20*time.Second, func() error {
		if serving() == "" {
			return errors.New("the list is still being written")
		}
		return nil
	})
	got, err := io.ReadAll(conn)
	if len(got) > 9<<20 {
		t.Errorf("all of the list came: %d bytes, %v", len(got), err)
	}
	// The next one, who reads, gets all of it over a connection that lives on.
	for range 3 {
		if code := c.send(t, "GET", maps, "", nil); code != http.StatusOK {
			t.Errorf("a reader gets %d", code)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Bodies that do not arrive end with their request.
func TestBodiesThatDoNotCome(t *testing.T) {
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) { c.RequestTimeout = time.Second }))
	conn := dial(t, api)
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", maps); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 4")) {
		t.Errorf("answer %q, %v", answer, err)
	}
}

// Bodies over the limit are refused without being read to their end.
func TestLargeBodies(t *testing.T) {
	c := start(t)
	before := heap()
	for _, tt := range []struct{ method, path, media string }{
		{"POST", maps, "application/json"}, {"POST", maps, "application/yaml"}, {"POST", maps, "application/vnd.kubernetes.protobuf"},
		{"PUT", maps + "/x", "application/json"}, {"PATCH", maps + "/x", "application/json-patch+json"}, {"PATCH", maps + "/x", "application/merge-patch+json"},
		{"PATCH", maps + "/x", "application/strategic-merge-patch+json"}, {"PATCH", maps + "/x?fieldManager=f", "application/apply-patch+yaml"},
		{"DELETE", maps + "/x", "application/json"}, {"DELETE", maps, "application/json"},
	} {
		if code := c.send(t, tt.method, tt.path, tt.media, bytes.Repeat([]byte(" "), wire.MaxBody+1)); code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s %s: %d", tt.method, tt.media, code)
		}
	}
	if after := heap(); after-before > 50 {
		t.Errorf("the server grew by %d MB", after-before)
	}
}

// What nests deeply, or stands for more than it says, is refused in every format and by every way in.
func TestNestingAndBombs(t *testing.T) {
	c := start(t)
	if code := c.send(t, "POST", maps, "application/json", []byte(`{"metadata":{"name":"x"}}`)); code != http.StatusCreated {
		t.Fatal(code)
	}
	const depth = 500_000
	deepJSON := `{"metadata":{"name":"x"},"data":` + strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) + "}"
	deepYAML := "metadata: {name: x}\ndata: " + strings.Repeat("[", 100_000)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*%c,", i-1), 8)+fmt.Sprintf("*%c", i-1))
	}
	managed := `{"metadata":{"name":"x","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":` +
		strings.Repeat(`{"f:a":`, depth) + "{}" + strings.Repeat("}", depth) + "}]}}"
	before, began := heap(), time.Now()
	for _, tt := range []struct{ name, method, path, media, body string }{
		{"JSON", "POST", maps, "application/json", deepJSON}, {"YAML", "POST", maps, "application/yaml", deepYAML}, {"JSON as YAML", "POST", maps, "application/yaml", deepJSON},
		{"aliases", "POST", maps, "application/yaml", bomb}, {"merge patch", "PATCH", maps + "/x", "application/merge-patch+json", deepJSON},
		{"strategic patch", "PATCH", maps + "/x", "application/strategic-merge-patch+json", deepJSON},
		{"JSON patch", "PATCH", maps + "/x", "application/json-patch+json", `[{"op":"add","path":"/data","value":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}]`},
		{"apply", "PATCH", maps + "/x?fieldManager=f", "application/apply-patch+yaml", deepYAML}, {"apply of aliases", "PATCH", maps + "/x?fieldManager=f", "application/apply-patch+yaml", bomb},
		{"managed fields", "PUT", maps + "/x", "application/json", managed},
	} {
		if code := c.send(t, tt.method, tt.path, tt.media, []byte(tt.body)); code < 400 || code >= 500 {
			t.Errorf("%s: %d", tt.name, code)
		}
	}
	// JSON patches can multiply what is there.
	ops := `[{"op":"add","path":"/data","value":{"a":"` + strings.Repeat("x", 1000) + `"}}`
	for range 40 {
		ops += `,{"op":"copy","from":"/data","path":"/data/a"}`
	}
	if code := c.send(t, "PATCH", maps+"/x", "application/json-patch+json", []byte(ops+"]")); code < 400 || code >= 500 {
		t.Errorf("copies of copies: %d", code)
	}
	if took := time.Since(began); took > 60*time.Second {
		t.Errorf("took %s", took)
	}
	if after := heap(); after-before > 200 {
		t.Errorf("the server grew by %d MB", after-before)
	}
}

func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("after %s: %v", within, err)
}
