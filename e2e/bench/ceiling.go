package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/skiff-project/skiff/e2e/bench/raw"
	"github.com/skiff-project/skiff/e2e/lab"
)

const ceilings = "ceilings"

// bound is the side in whose column ceilings stand.
const bound lab.Side = "ceiling"

// ceiling measures what this machine does with everything taken out but the transport: Go's HTTP/2 server over TLS with
// answers made before, and etcd itself. No server that uses them can do more.
func (b *bench) ceiling(ctx context.Context) error {
	b.side, b.name = bound, fmt.Sprintf("api-%d", b.sizes[0])
	if err := b.transport(ctx); err != nil {
		return err
	}
	return b.etcd(ctx)
}

// transport measures constant answers. Client and server share a process here, and the processors as they do elsewhere.
func (b *bench) transport(ctx context.Context) error {
	pod, list := bytes.Repeat([]byte("p"), 3700), bytes.Repeat([]byte("l"), 3700*b.sizes[0])
	const watchers, updates = 200, 2000
	start := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/pod":
			_, _ = w.Write(pod) // who has gone needs no answer, here and below
		case "/list":
			_, _ = w.Write(list)
		default:
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-start
			for range updates {
				_, _ = w.Write(pod)
				w.(http.Flusher).Flush()
			}
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	var conns []*raw.Conn
	for range connections {
		c, err := raw.Dial(ctx, (&net.Dialer{}).DialContext, server.Listener.Addr().String(), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})
		if err != nil {
			return err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	ask := func(path string) func(ctx context.Context, i int) error {
		return func(ctx context.Context, i int) error {
			_, err := conns[i%connections].Do(ctx, raw.Request{Method: http.MethodGet, Path: path, Accept: jsonType}, nil)
			return err
		}
	}
	gets, err := spread(ctx, 40000, writers, ask("/pod"))
	if err != nil {
		return err
	}
	b.report("get one pod, 32 at once", "/s", more, gets)
	lists, err := spread(ctx, 40, connections, ask("/list"))
	if err != nil {
		return err
	}
	for _, format := range []string{"JSON", "protobuf"} {
		b.report("list all pods, "+format, "MB/s", more, lists*float64(len(list))/1e6)
	}
	var group sync.WaitGroup
	errs := make(chan error, watchers)
	for i := range watchers {
		group.Go(func() { errs <- ask("/watch")(ctx, i) })
	}
	began := time.Now()
	close(start)
	group.Wait()
	took := time.Since(began)
	for range watchers {
		if err := <-errs; err != nil {
			return err
		}
	}
	b.report("watch fan-out, 200 watchers x 2,000 updates", "events/s", more, watchers*updates/took.Seconds())
	return nil
}

// etcd measures transactions of the size of a pod over gRPC.
func (b *bench) etcd(ctx context.Context) error {
	l, err := b.start(ctx, lab.Parts{})
	if err != nil {
		return err
	}
	defer b.stop(l)
	if err := l.StartPart(lab.Etcd, lab.Upstream); err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{
		Context: ctx, Logger: zap.NewNop(), Endpoints: []string{"http://127.0.0.1:2379"}, DialTimeout: 10 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return l.Dial(ctx, "tcp", address)
		})},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := l.Await(ctx, 20*time.Second, func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := client.Get(ctx, "a")
		return err == nil, fmt.Sprint(err)
	}); err != nil {
		return err
	}
	value := strings.Repeat("v", 1500) // what a pod takes in protobuf
	rate, err := spread(ctx, 20000, writers, func(ctx context.Context, i int) error {
		k := fmt.Sprintf("/registry/pods/bench/%s", podName(i))
		_, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(k), "=", 0)).Then(clientv3.OpPut(k, value)).Commit()
		return err
	})
	if err != nil {
		return err
	}
	b.report("create pods, 32 at once", "/s", more, rate)
	return nil
}
