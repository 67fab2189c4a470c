// Package apitest gives any test a real API server on a real etcd, on a loopback port, with certificates, RBAC and
// admission as in production:
//
//	api := apitest.Start(t)
//	pods := api.Client().CoreV1().Pods("default")
//
// It takes about a third of a second. Everything ends with the test. Only tests import it.
package apitest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/pkg/certs"
)

// Server is a running API server.
type Server struct {
	// Config acts as an administrator (system:masters). Its rate limit is off.
	Config *rest.Config
	// URL is https://127.0.0.1:PORT.
	URL string
	// Dir holds the certificates (pki/) and etcd's files (etcd/).
	Dir string

	t      testing.TB
	cfg    apiserver.Config
	ca     *certs.Cluster
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// Option changes the configuration of a server before it starts.
type Option func(*apiserver.Config)

// With changes the configuration freely.
func With(change func(*apiserver.Config)) Option { return change }

// advertised are the addresses that servers say they have: a loopback one may not stand in Endpoints. Nobody connects to
// them.
var advertised = []string{"192.0.2.1", "192.0.2.2"}

// startup is how long a server may take on a machine that is busy with other tests.
const startup = 60 * time.Second

// Start starts a server and waits until it is ready. It ends the test if that fails.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	// Not t.TempDir: its names may be longer than a unix socket's may be.
	dir, err := os.MkdirTemp("", "apitest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := apiserver.Defaults()
	cfg.DataDir = filepath.Join(dir, "etcd")
	cfg.EtcdSocket = filepath.Join(dir, "etcd.sock")
	cfg.EtcdNoSync = true
	cfg.CertDir = filepath.Join(dir, "pki")
	cfg.AdvertiseAddress = advertised[0]
	cfg.Log = slog.New(slog.NewTextHandler(logTo{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, o := range options {
		o(&cfg)
	}
	return start(t, dir, cfg)
}

// Second starts another API server on the same etcd.
func (s *Server) Second(options ...Option) *Server {
	s.t.Helper()
	cfg := s.cfg
	cfg.DataDir, cfg.EtcdSocket = "", ""
	cfg.EtcdServers = []string{"unix://" + s.cfg.EtcdSocket}
	cfg.AdvertiseAddress = advertised[1]
	for _, o := range options {
		o(&cfg)
	}
	return start(s.t, s.Dir, cfg)
}

func start(t testing.TB, dir string, cfg apiserver.Config) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listeners, cfg.SecurePort = []net.Listener{l}, 0
	cfg.BindAddress = "127.0.0.1"
	s := &Server{t: t, Dir: dir, cfg: cfg, URL: "https://" + l.Addr().String(), done: make(chan struct{})}
	if s.ca, err = pki(cfg.CertDir); err != nil {
		t.Fatal(err)
	}
	api, err := apiserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.done)
		s.err = api.Run(ctx)
	}()
	t.Cleanup(s.Stop)
	s.Config = s.As("admin", "system:masters")
	s.waitReady()
	return s
}

// Stop ends the server; its listeners are closed and its data stay. It is called at the test's end anyway.
func (s *Server) Stop() {
	s.cancel()
	<-s.done
	if s.err != nil && !errors.Is(s.err, context.Canceled) {
		s.t.Errorf("API server: %v", s.err)
	}
}

// Port is the one it listens on.
func (s *Server) Port() int {
	_, port, _ := net.SplitHostPort(s.URL[len("https://"):])
	n, _ := strconv.Atoi(port)
	return n
}

func (s *Server) waitReady() {
	s.t.Helper()
	client := s.Client().Discovery().RESTClient()
	deadline := time.Now().Add(startup)
	for {
		// A server may be started without its key management plugin: how it copes is a test.
		body, err := client.Get().AbsPath("/readyz").Param("verbose", "").Param("exclude", "kms-providers").Do(context.Background()).Raw()
		if err == nil {
			return
		}
		select {
		case <-s.done:
			s.t.Fatalf("API server ended: %v", s.err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("API server is not ready after %s: %v\n%s", startup, err, body)
		}
	}
}

// As is a configuration that acts as a user, by a client certificate.
func (s *Server) As(user string, groups ...string) *rest.Config {
	s.t.Helper()
	pair, err := s.ca.CA.Issue(certs.Leaf{CommonName: user, Organization: groups, Client: true})
	if err != nil {
		s.t.Fatal(err)
	}
	c := s.Anonymous()
	c.CertData, c.KeyData = pair.Cert, pair.Key
	return c
}

// Anonymous is a configuration without credentials.
func (s *Server) Anonymous() *rest.Config {
	return &rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAData: s.ca.CA.CertPEM}, QPS: -1}
}

// WithToken is a configuration that shows a bearer token.
func (s *Server) WithToken(token string) *rest.Config {
	c := s.Anonymous()
	c.BearerToken = token
	return c
}

// Client acts as an administrator.
func (s *Server) Client() kubernetes.Interface { return s.ClientFor(s.Config) }

// ClientFor makes a typed client.
func (s *Server) ClientFor(c *rest.Config) kubernetes.Interface {
	s.t.Helper()
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

// Dynamic acts as an administrator on objects of any kind.
func (s *Server) Dynamic() dynamic.Interface {
	s.t.Helper()
	client, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

// CA signs what a test needs: the certificate of a fake node, say.
func (s *Server) CA() *certs.Cluster { return s.ca }

// Eventually waits until a condition holds, and ends the test if it does not within ten seconds. check says what is
// missing.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("after ten seconds: %v", err)
}

// The keys of all tests of one process are the same: making them takes longer than all else.
var keys struct {
	sync.Mutex
	files map[string][]byte
}

func pki(dir string) (*certs.Cluster, error) {
	keys.Lock()
	defer keys.Unlock()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for name, content := range keys.files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	cluster, err := certs.EnsureCluster(dir, certs.Config{Names: advertised})
	if err != nil || keys.files != nil {
		return cluster, err
	}
	keys.files = map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if keys.files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return cluster, nil
}

// logTo shows the server's warnings among the test's output.
type logTo struct{ t testing.TB }

func (l logTo) Write(b []byte) (int, error) {
	l.t.Log(string(b[:max(len(b)-1, 0)]))
	return len(b), nil
}
