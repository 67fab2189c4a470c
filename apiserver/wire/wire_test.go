package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

var configMap = kinds.Define(kinds.Row[*corev1.ConfigMap]{
	Resource: "configmaps", Scope: kinds.Namespaced,
	Columns: []kinds.Column[*corev1.ConfigMap]{
		kinds.NameColumn[*corev1.ConfigMap](),
		{Name: "Data", Type: "integer", Cell: func(c *corev1.ConfigMap) any { return int64(len(c.Data)) }},
	},
})

func testMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "u-" + "1", ResourceVersion: "7",
			Labels: map[string]string{"a": "<&>"}, CreationTimestamp: metav1.Unix(1_700_000_000, 0)},
		Data: map[string]string{"k": "v", "empty": ""}, BinaryData: map[string][]byte{"b": {0, 1, 255}},
	}
}

// cached puts objects through a real cache on a real etcd, as the API server does.
func cached(t *testing.T, n int) ([]*watchcache.Object, *watchcache.List, *Codec) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wire")
	if err != nil {
		t.Fatal(err)
	}
	etcd, err := storage.StartEmbedded(storage.EmbeddedConfig{DataDir: dir, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	store := storage.New(etcd.Client, storage.Config{})
	hub := watchcache.NewHub(watchcache.Config{Store: store})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		etcd.Close()
		_ = os.RemoveAll(dir)
	})
	codec := NewCodec(configMap)
	reader := hub.Add(watchcache.Resource{GroupResource: configMap.GroupResource(), Prefix: configMap.KeyPrefix(""), Namespaced: true, Codec: codec})
	for i := range n {
		obj := testMap(fmt.Sprintf("m%03d", i))
		value, err := codec.EncodeStored(obj)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(ctx, configMap.Key("default", obj.Name), value, 0); err != nil {
			t.Fatal(err)
		}
	}
	list, err := reader.List(ctx, watchcache.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items, list, codec
}

// typedList is the list as upstream would have it: of decoded objects, without their types.
func typedList(t *testing.T, objects []*watchcache.Object) *corev1.ConfigMapList {
	list := &corev1.ConfigMapList{TypeMeta: metav1.TypeMeta{Kind: "ConfigMapList", APIVersion: "v1"}, Items: []corev1.ConfigMap{}}
	for _, o := range objects {
		obj, err := o.Decoded()
		if err != nil {
			t.Fatal(err)
		}
		cm := obj.(*corev1.ConfigMap)
		cm.TypeMeta = metav1.TypeMeta{}
		list.Items = append(list.Items, *cm)
	}
	return list
}

func TestListsAreThoseOfTheLibrary(t *testing.T) {
	objects, _, codec := cached(t, 40)
	remaining := int64(3)
	for _, m := range []ListMeta{{ResourceVersion: "12"}, {ResourceVersion: "12", Continue: "token", RemainingItemCount: &remaining}} {
		for _, n := range []int{0, 1, 2, 40} {
			want := typedList(t, objects[:n])
			want.ListMeta = m
			t.Run(fmt.Sprintf("json %d", n), func(t *testing.T) {
				var expected bytes.Buffer
				if err := json.NewEncoder(&expected).Encode(want); err != nil {
					t.Fatal(err)
				}
				check(t, codec, objects[:n], Accepted{Format: JSON}, m, expected.Bytes())
			})
			t.Run(fmt.Sprintf("protobuf %d", n), func(t *testing.T) {
				var expected bytes.Buffer
				if err := protobuf.NewSerializer(kinds.Scheme, kinds.Scheme).Encode(want, &expected); err != nil {
					t.Fatal(err)
				}
				check(t, codec, objects[:n], Accepted{Format: Protobuf}, m, expected.Bytes())
			})
			partial := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadataList", APIVersion: "meta.k8s.io/v1"}, ListMeta: m, Items: []metav1.PartialObjectMetadata{}}
			for i := range want.Items {
				p := meta.AsPartialObjectMetadata(&want.Items[i])
				p.TypeMeta = metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}
				partial.Items = append(partial.Items, *p)
			}
			as := partial.GroupVersionKind()
			t.Run(fmt.Sprintf("partial json %d", n), func(t *testing.T) {
				var expected bytes.Buffer
				if err := json.NewEncoder(&expected).Encode(partial); err != nil {
					t.Fatal(err)
				}
				check(t, codec, objects[:n], Accepted{Format: JSON, As: &as}, m, expected.Bytes())
			})
			t.Run(fmt.Sprintf("partial protobuf %d", n), func(t *testing.T) {
				var expected bytes.Buffer
				if err := protobuf.NewSerializer(kinds.Scheme, kinds.Scheme).Encode(partial, &expected); err != nil {
					t.Fatal(err)
				}
				check(t, codec, objects[:n], Accepted{Format: Protobuf, As: &as}, m, expected.Bytes())
			})
		}
	}
}

func check(t *testing.T, codec *Codec, objects []*watchcache.Object, accepted Accepted, m ListMeta, want []byte) {
	t.Helper()
	l, err := codec.NewList(objects, corev1.SchemeGroupVersion, &accepted, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []string{"", "gzip"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		l.Write(w, r, accepted)
		got := w.Body.Bytes()
		if w.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		} else if length := w.Header().Get("Content-Length"); length != fmt.Sprint(len(got)) {
			t.Errorf("Content-Length %s of %d bytes", length, len(got))
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

// TestStoredBytesAreThoseOfTheLibrary: what we write, kube-apiserver would write.
func TestStoredBytesAreThoseOfTheLibrary(t *testing.T) {
	codec := NewCodec(configMap)
	obj := testMap("m")
	stored, err := codec.EncodeStored(obj.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	obj.ResourceVersion = ""
	var want bytes.Buffer
	if err := protobuf.NewSerializer(kinds.Scheme, kinds.Scheme).Encode(obj, &want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, want.Bytes()) {
		t.Errorf("got  %q\nwant %q", stored, want.Bytes())
	}
	back, err := codec.Decode(stored, 42)
	if err != nil {
		t.Fatal(err)
	}
	if cm := back.(*corev1.ConfigMap); cm.ResourceVersion != "42" || cm.Data["k"] != "v" || cm.Kind != "ConfigMap" {
		t.Errorf("%+v", cm)
	}
}

func TestNegotiation(t *testing.T) {
	codec := NewCodec(configMap)
	for _, c := range []struct {
		accept string
		want   string
	}{
		{"", "json"}, {"*/*", "json"}, {"application/json", "json"}, {"application/*", "json"},
		{"application/yaml", "yaml"}, {"application/vnd.kubernetes.protobuf", "protobuf"},
		{"application/vnd.kubernetes.protobuf, */*", "protobuf"},
		{"application/vnd.kubernetes.protobuf,application/json", "protobuf"},
		{"application/yaml;q=0.5, application/json;q=0.9", "json"},
		{"application/json;as=Table;v=v1;g=meta.k8s.io", "json Table"},
		{"application/json;as=Table;v=v1beta1;g=meta.k8s.io", "json Table"},
		{"application/json;as=Table;v=v9;g=meta.k8s.io, application/json", "json"},
		{"application/json;as=Table;v=v9;g=meta.k8s.io", ""},
		{"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", ""},
		{"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "json Table"},
		{"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "protobuf PartialObjectMetadataList"},
		{"application/json;as=Nonsense;v=v1;g=meta.k8s.io", ""},
		{"application/json;pretty=1", "json pretty"},
		{"application/json;stream=watch", "json"}, {"application/yaml;stream=watch", ""},
		{"text/html", ""}, {"text/html, */*;q=0.1", "json"}, {"nonsense", ""}, {";;;,,,", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", c.accept)
		got := ""
		if accepted, err := Negotiate(r, codec.Offer()); err == nil {
			got = []string{"json", "yaml", "protobuf"}[accepted.Format]
			if accepted.As != nil {
				got += " " + accepted.As.Kind
			}
			if accepted.Pretty {
				got += " pretty"
			}
		} else if code := StatusOf(err).Code; code != http.StatusNotAcceptable {
			t.Errorf("%q: %d", c.accept, code)
		}
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.accept, got, c.want)
		}
	}
}

func TestDecodeWords(t *testing.T) {
	target := TargetOf(&configMap.Served[0])
	for _, c := range []struct {
		body   string
		format Format
		want   string
	}{
		{``, JSON, `the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)`},
		{`{`, JSON, `the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({)`},
		{`{"kind":"Golden"}`, JSON, `Golden in version "v1" cannot be handled as a ConfigMap: no kind "Golden" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111"`},
		{`{"kind":"Pod","apiVersion":"v1"}`, JSON, `Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion`},
		{`{"data":[]}`, JSON, `ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string`},
		{"a: b: c", YAML, `the object provided is unrecognized (must be of type ConfigMap): yaml: mapping values are not allowed in this context (613a20623a2063)`},
		{"nonsense", Protobuf, `the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (6e6f6e73656e7365)`},
		{"", Protobuf, `the object provided is unrecognized (must be of type ConfigMap): empty data (<empty>)`},
		{strings.Repeat("[", 20000), JSON, `the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character '[' exceeded max depth (5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b5b ...)`},
	} {
		_, _, _, err := Decode(Body{Data: []byte(c.body), Format: c.format}, target)
		if err == nil || err.Error() != c.want || StatusOf(err).Code != http.StatusBadRequest {
			t.Errorf("%.40q: %v", c.body, err)
		}
	}
}

// TestYAMLBomb: a few lines of YAML can stand for gigabytes.
func TestYAMLBomb(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'l'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*%c,", i-1), 8)+fmt.Sprintf("*%c", i-1))
	}
	began := time.Now()
	_, _, _, err := Decode(Body{Data: []byte(bomb), Format: YAML, Strict: true}, TargetOf(&configMap.Served[0]))
	if err == nil || !strings.Contains(err.Error(), "excessive aliasing") {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestBodiesHaveALimit(t *testing.T) {
	r := httptest.NewRequest("POST", "/", io.LimitReader(endless{}, MaxBody+1))
	_, _, err := ReadBody(r)
	if err == nil || StatusOf(err).Code != http.StatusRequestEntityTooLarge || !strings.Contains(err.Error(), "limit is 3145728") {
		t.Errorf("%v", err)
	}
	r = httptest.NewRequest("POST", "/", io.LimitReader(endless{}, MaxBody))
	body, release, err := ReadBody(r)
	if err != nil || len(body) != MaxBody {
		t.Errorf("%d %v", len(body), err)
	}
	release()
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestWatchFrames(t *testing.T) {
	objects, _, codec := cached(t, 1)
	r := httptest.NewRequest("GET", "/", nil)
	event := watchcache.Event{Type: "ADDED", Object: objects[0]}
	frames, err := codec.NewFrames(r, Accepted{Format: JSON}, corev1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	line, err := frames.Append(nil, event)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(line, []byte(`{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m000",`)) || !bytes.HasSuffix(line, []byte("}}\n")) {
		t.Errorf("%s", line)
	}
	if frames, err = codec.NewFrames(r, Accepted{Format: Protobuf}, corev1.SchemeGroupVersion); err != nil {
		t.Fatal(err)
	}
	frame, err := frames.Append(nil, event)
	if err != nil {
		t.Fatal(err)
	}
	var e metav1.WatchEvent
	if n := int(frame[0])<<24 | int(frame[1])<<16 | int(frame[2])<<8 | int(frame[3]); n != len(frame)-4 {
		t.Fatalf("length %d of %d", n, len(frame))
	}
	if err := e.Unmarshal(frame[4:]); err != nil {
		t.Fatal(err)
	}
	obj, _, err := protobuf.NewSerializer(kinds.Scheme, kinds.Scheme).Decode(e.Object.Raw, nil, nil)
	if err != nil || e.Type != "ADDED" || obj.(*corev1.ConfigMap).Name != "m000" {
		t.Errorf("%v %v", e.Type, err)
	}
	as := metaGroupVersion.WithKind("Table")
	if frames, err = codec.NewFrames(r, Accepted{Format: JSON, As: &as}, corev1.SchemeGroupVersion); err != nil {
		t.Fatal(err)
	}
	first, _ := frames.Append(nil, event)
	second, _ := frames.Append(nil, event)
	if !bytes.Contains(first, []byte(`"columnDefinitions":[{"name":"Name"`)) || !bytes.Contains(second, []byte(`"columnDefinitions":null`)) {
		t.Errorf("%s\n%s", first, second)
	}
}
