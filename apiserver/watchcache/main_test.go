package watchcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"encoding/json"

	"github.com/skiff-project/skiff/apiserver/storage"
)

var (
	jsonForm = Form{Version: corev1.SchemeGroupVersion}
	pbForm   = Form{Version: corev1.SchemeGroupVersion, Media: Protobuf}
	metaForm = Form{Version: corev1.SchemeGroupVersion, Shape: MetadataOnly}
)

// podCodec stores pods in protobuf, without an envelope, and serves them as the API does.
type podCodec struct{ decodes, encodes *atomic.Int64 }

func newCodec() podCodec { return podCodec{new(atomic.Int64), new(atomic.Int64)} }

func (podCodec) New() runtime.Object {
	return &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}}
}

func (c podCodec) Decode(stored []byte, revision int64) (runtime.Object, error) {
	c.decodes.Add(1)
	pod := &corev1.Pod{}
	if err := pod.Unmarshal(stored); err != nil {
		return nil, err
	}
	pod.Kind, pod.APIVersion = "Pod", "v1"
	pod.ResourceVersion = fmt.Sprint(revision)
	return pod, nil
}

func (podCodec) Attributes(obj runtime.Object) (labels.Set, fields.Set) {
	pod := obj.(*corev1.Pod)
	return pod.Labels, fields.Set{"metadata.name": pod.Name, "metadata.namespace": pod.Namespace,
		"spec.nodeName": pod.Spec.NodeName, "status.phase": string(pod.Status.Phase)}
}

func (c podCodec) Encode(obj runtime.Object, form Form) ([]byte, error) {
	c.encodes.Add(1)
	pod := obj.(*corev1.Pod)
	if form.Shape == MetadataOnly {
		return json.Marshal(&metav1.PartialObjectMetadata{ObjectMeta: pod.ObjectMeta,
			TypeMeta: metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}})
	}
	if form.Media == JSON {
		return json.Marshal(pod)
	}
	raw, err := pod.Marshal()
	if err != nil {
		return nil, err
	}
	envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{Kind: "Pod", APIVersion: "v1"}, Raw: raw}
	b, err := envelope.Marshal()
	return append([]byte("k8s\x00"), b...), err
}

func pods(codec Codec) Resource {
	return Resource{GroupResource: schema.GroupResource{Resource: "pods"}, Prefix: "/registry/pods/", Namespaced: true,
		Codec: codec, Indexed: []string{"spec.nodeName"}}
}

func aPod(namespace, name string, edit ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + namespace + "-" + name)}}
	for _, f := range edit {
		f(pod)
	}
	return pod
}

func label(kv ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			p.Labels[kv[i]] = kv[i+1]
		}
	}
}

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func note(text string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{"note": text} }
}

// server is what an API server has of these packages: a store, a hub and the pods.
type server struct {
	t      testing.TB
	store  *storage.Store
	hub    *Hub
	pods   *Cache
	codec  podCodec
	stop   context.CancelFunc
	client *clientv3.Client
}

func startEtcd(t testing.TB) *storage.Embedded {
	t.Helper()
	e, err := storage.StartEmbedded(storage.EmbeddedConfig{DataDir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func serve(t testing.TB, client *clientv3.Client, edit ...func(*Config)) *server {
	t.Helper()
	s := &server{t: t, client: client, store: storage.New(client, storage.Config{Timeout: 2 * time.Second}), codec: newCodec()}
	cfg := Config{Store: s.store}
	for _, f := range edit {
		f(&cfg)
	}
	s.hub = NewHub(cfg)
	s.pods = s.hub.Add(pods(s.codec)).(*Cache)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.hub.Run(ctx) }()
	s.stop = func() { cancel(); <-done }
	t.Cleanup(s.stop)
	return s
}

func one(t testing.TB, edit ...func(*Config)) *server { return serve(t, startEtcd(t).Client, edit...) }

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func key(pod *corev1.Pod) string { return "/registry/pods/" + pod.Namespace + "/" + pod.Name }

func marshal(t testing.TB, pod *corev1.Pod) []byte {
	b, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *server) create(pod *corev1.Pod) int64 {
	s.t.Helper()
	rev, err := s.store.Create(context.Background(), key(pod), marshal(s.t, pod), 0)
	if err != nil {
		s.t.Fatal(err)
	}
	return rev
}

// put replaces a pod, whatever it was.
func (s *server) put(pod *corev1.Pod) int64 {
	s.t.Helper()
	for {
		kv, err := s.store.Get(context.Background(), key(pod))
		if err != nil {
			s.t.Fatal(err)
		}
		rev, err := s.store.Update(context.Background(), key(pod), marshal(s.t, pod), kv.Revision, 0)
		if conflict := (*storage.Conflict)(nil); errors.As(err, &conflict) {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return rev
	}
}

func (s *server) remove(pod *corev1.Pod) int64 {
	s.t.Helper()
	kv, err := s.store.Get(context.Background(), key(pod))
	if err != nil {
		s.t.Fatal(err)
	}
	rev, err := s.store.Delete(context.Background(), key(pod), kv.Revision)
	if err != nil {
		s.t.Fatal(err)
	}
	return rev
}

func (s *server) list(opts ListOptions) *List {
	s.t.Helper()
	l, err := s.pods.List(testContext(s.t), opts)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func names(items []*Object) string {
	var all []string
	for _, o := range items {
		all = append(all, o.Name)
	}
	return strings.Join(all, " ")
}

type told struct {
	text     string
	revision int64
}

// watching is a watch with what it has been told, in words.
type watching struct {
	t testing.TB
	w Watcher
	// said are events that next has not handed out yet.
	said []told
	rev  int64
}

func (s *server) watch(opts WatchOptions) *watching { return watchReader(s.t, s.pods, opts) }

func watchReader(t testing.TB, r Reader, opts WatchOptions) *watching {
	t.Helper()
	w, err := r.Watch(testContext(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return &watching{t: t, w: w}
}

// next is the next event: "ADDED a", "DELETED a@12", "BOOKMARK", "BOOKMARK end", "ERROR 410", "EOF".
func (w *watching) next() string {
	w.t.Helper()
	if len(w.said) == 0 {
		events, err := w.w.Next(testContext(w.t))
		if err == io.EOF {
			return "EOF"
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range events {
			said := told{text: say(e)}
			if e.Object != nil {
				said.revision = e.Object.Revision
			}
			w.said = append(w.said, said)
		}
	}
	first := w.said[0]
	w.said, w.rev = w.said[1:], first.revision
	return first.text
}

func say(e Event) string {
	switch e.Type {
	case "ERROR":
		return fmt.Sprintf("ERROR %d", e.Status.Code)
	case "BOOKMARK":
		obj, _ := e.Object.Shared()
		if obj.(*corev1.Pod).Annotations[metav1.InitialEventsAnnotationKey] == "true" {
			return "BOOKMARK end"
		}
		return "BOOKMARK"
	}
	return fmt.Sprintf("%s %s", e.Type, e.Object.Name)
}

func (w *watching) want(events ...string) {
	w.t.Helper()
	for _, want := range events {
		if got := w.next(); got != want {
			w.t.Fatalf("got event %q, want %q", got, want)
		}
	}
}

func selector(t testing.TB, s string) labels.Selector {
	sel, err := labels.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

func fieldSelector(t testing.TB, s string) fields.Selector {
	sel, err := fields.ParseSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

// external starts an etcd that can be stopped and started again, and a client of it over a socket.
type external struct {
	t    testing.TB
	dir  string
	etcd *storage.Embedded
}

func startExternal(t testing.TB) *external {
	x := &external{t: t, dir: t.TempDir()}
	x.start()
	t.Cleanup(func() { x.stop() })
	return x
}

func (x *external) socket() string { return filepath.Join(x.dir, "s") }

func (x *external) start() {
	x.t.Helper()
	e, err := storage.StartEmbedded(storage.EmbeddedConfig{DataDir: filepath.Join(x.dir, "data"), Socket: x.socket(), NoSync: true})
	if err != nil {
		x.t.Fatal(err)
	}
	x.etcd = e
}

func (x *external) stop() {
	if x.etcd != nil {
		x.etcd.Close()
		x.etcd = nil
	}
}

func (x *external) client() *clientv3.Client {
	x.t.Helper()
	c, err := storage.Dial(storage.ExternalConfig{Servers: []string{"unix://" + x.socket()}})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { c.Close() })
	return c
}

// startSibling is the client for a second server on the etcd of the first.
func startSibling(s *server) *clientv3.Client { return s.client }

func change(key string, stored []byte) []storage.Change {
	return []storage.Change{{KV: storage.KV{Key: key, Value: stored}}}
}
