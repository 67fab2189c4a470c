package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/storage"
	"github.com/skiff-project/skiff/apiserver/watchcache"
	"github.com/skiff-project/skiff/pkg/certs"
)

// These measure the server's own work for a write: requests are given to its handler without a network, and etcd runs in a
// process of its own, so that the processor time and the allocations of this process are nearly all the server's.
// "cpu-us/op" depends on what else the machine does far less than the rate.
//
//	go test -run xxx -bench Write -cpuprofile cpu.out ./apiserver

// etcdAt tells a child of the benchmark to be its etcd, and where.
const etcdAt = "SKIFF_BENCH_ETCD"

// TestEtcdOfBenchmarks is that etcd. It ends with its parent, which holds the other end of its standard input.
func TestEtcdOfBenchmarks(t *testing.T) {
	dir := os.Getenv(etcdAt)
	if dir == "" {
		t.Skip("run by the benchmarks")
	}
	e, err := storage.StartEmbedded(storage.EmbeddedConfig{DataDir: filepath.Join(dir, "etcd"), Socket: filepath.Join(dir, "etcd.sock"), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	e.Close()
}

func startEtcd(b *testing.B, dir string) {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestEtcdOfBenchmarks$")
	cmd.Env = append(os.Environ(), etcdAt+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	buffer, seen := make([]byte, 4096), ""
	for !strings.Contains(seen, "ready") {
		n, err := out.Read(buffer)
		if err != nil {
			b.Fatalf("etcd: %v %s", err, seen)
		}
		seen += string(buffer[:n])
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
}

// direct is a server whose handler is called.
type direct struct {
	handler http.Handler
	tls     *tls.ConnectionState
}

func startDirect(b *testing.B) *direct {
	b.Helper()
	dir, err := os.MkdirTemp("", "bench") // not b.TempDir: a unix socket's name may not be as long
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	startEtcd(b, dir)
	ca, err := certs.EnsureCluster(filepath.Join(dir, "pki"), certs.Config{Names: []string{"192.0.2.1"}})
	if err != nil {
		b.Fatal(err)
	}
	admin, err := ca.CA.Issue(certs.Leaf{CommonName: "admin", Organization: []string{"system:masters"}, Client: true})
	if err != nil {
		b.Fatal(err)
	}
	pair, err := tls.X509KeyPair(admin.Cert, admin.Key)
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	cfg := Defaults()
	cfg.EtcdServers, cfg.CertDir, cfg.AdvertiseAddress = []string{"unix://" + filepath.Join(dir, "etcd.sock")}, filepath.Join(dir, "pki"), "192.0.2.1"
	cfg.BindAddress, cfg.SecurePort, cfg.Listeners = "127.0.0.1", 0, []net.Listener{l}
	cfg.Log = slog.New(slog.DiscardHandler)
	s, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.close)
	paceCollector()
	client, _, closeEtcd, err := s.etcd()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(closeEtcd)
	store := storage.New(client, storage.Config{Prefix: s.cfg.EtcdPrefix})
	hub := watchcache.NewHub(watchcache.Config{Store: store, Log: s.log})
	front, parts, err := s.assemble(store, hub, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	go func() { _ = hub.Run(ctx) }()
	for _, p := range parts {
		go func() { _ = p.run(ctx) }()
	}
	d := &direct{handler: front, tls: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, HandshakeComplete: true}}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if code, _ := d.do(http.MethodGet, "/readyz", "", nil); code == http.StatusOK {
			return d
		}
		if time.Now().After(deadline) {
			b.Fatal("the server is not ready")
		}
	}
}

// answer is a response that is thrown away but for its beginning.
type answer struct {
	header http.Header
	code   int
	body   []byte
}

func (a *answer) Header() http.Header  { return a.header }
func (a *answer) WriteHeader(code int) { a.code = code }
func (a *answer) Write(b []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	if a.code >= 300 {
		a.body = append(a.body, b...)
	}
	return len(b), nil
}

func (d *direct) do(method, path, contentType string, body []byte) (int, []byte) {
	r, err := http.NewRequest(method, "https://127.0.0.1"+path, bytes.NewReader(body))
	if err != nil {
		return 0, []byte(err.Error())
	}
	r.TLS, r.RemoteAddr, r.ProtoMajor, r.Proto = d.tls, "127.0.0.1:1", 2, "HTTP/2.0"
	r.Header["Accept"], r.Header["User-Agent"] = []string{"application/json"}, []string{"bench/1"}
	if contentType != "" {
		r.Header["Content-Type"] = []string{contentType}
	}
	a := &answer{header: http.Header{}}
	d.handler.ServeHTTP(a, r)
	return a.code, a.body
}

func (d *direct) must(b *testing.B, method, path, contentType string, body []byte) {
	if code, text := d.do(method, path, contentType, body); code >= 300 {
		b.Errorf("%s %s: %d %s", method, path, code, text)
	}
}

const benchPods = "/api/v1/namespaces/default/pods"

func benchPodName(i int64) string { return fmt.Sprintf("web-5d78c9869d-%05d", i) }

// benchPod is the pod of make bench: about 3.7 kB in JSON once it is stored with its status.
func benchPod(i int64) []byte {
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: benchPodName(i), Namespace: "default", Labels: map[string]string{
			"app": "web", "pod-template-hash": "5d78c9869d", "tier": "front", "release": "stable", "number": fmt.Sprint(i),
		}, Annotations: map[string]string{"example.com/note": strings.Repeat("n", 400)}},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i%1000)},
	}
	for _, n := range []string{"web", "sidecar"} {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "registry.example.com/team/" + n + ":v1.2.3",
			Env:   []corev1.EnvVar{{Name: "A", Value: strings.Repeat("a", 50)}, {Name: "B", Value: strings.Repeat("b", 50)}},
			Ports: []corev1.ContainerPort{{ContainerPort: 8080}}})
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return body
}

// benchStatus is what a node agent reports of a running pod.
const benchStatus = `{"status":{"phase":"Running","podIP":"10.244.1.7","podIPs":[{"ip":"10.244.1.7"}],"conditions":[` +
	`{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"},{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}],` +
	`"containerStatuses":[{"name":"web","ready":true,"restartCount":%d,"image":"web","imageID":"sha256:1","state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}`

const benchWriters = 32

func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// measure calls do from many goroutines at once.
func (d *direct) measure(b *testing.B, do func(i int64)) {
	var next atomic.Int64
	b.SetParallelism(benchWriters / 2)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			do(next.Add(1) - 1)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
}

func BenchmarkWrite(b *testing.B) {
	d := startDirect(b)
	d.must(b, http.MethodPost, "/api/v1/namespaces/default/serviceaccounts", "application/json", []byte(`{"metadata":{"name":"default"}}`))
	var made int64
	create := func(upTo int64) {
		for ; made < upTo; made++ {
			d.must(b, http.MethodPost, benchPods, "application/json", benchPod(made))
		}
	}
	b.Run("Create", func(b *testing.B) {
		bodies, first := make([][]byte, b.N), made
		for i := range bodies {
			bodies[i] = benchPod(first + int64(i))
		}
		made += int64(b.N)
		d.measure(b, func(i int64) { d.must(b, http.MethodPost, benchPods, "application/json", bodies[i]) })
	})
	b.Run("PatchStatusFirst", func(b *testing.B) { // of a pod that nobody has patched yet, as make bench has it
		first := made
		create(first + int64(b.N))
		d.measure(b, func(i int64) {
			d.must(b, http.MethodPatch, benchPods+"/"+benchPodName(first+i)+"/status", "application/strategic-merge-patch+json", fmt.Appendf(nil, benchStatus, 0))
		})
	})
	const patched = 2000
	b.Run("PatchStatus", func(b *testing.B) {
		create(patched)
		d.measure(b, func(i int64) {
			d.must(b, http.MethodPatch, benchPods+"/"+benchPodName(i%patched)+"/status", "application/strategic-merge-patch+json",
				fmt.Appendf(nil, benchStatus, i+1))
		})
	})
	b.Run("PatchAnnotation", func(b *testing.B) {
		create(patched)
		d.measure(b, func(i int64) {
			d.must(b, http.MethodPatch, benchPods+"/"+benchPodName(i%patched), "application/merge-patch+json",
				fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/update":"%d"}}}`, i))
		})
	})
}
