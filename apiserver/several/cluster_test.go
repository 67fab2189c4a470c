package several

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/pkg/certs"
)

// serve makes this test's binary an API server: its flags, as a JSON list.
const serve = "SKIFF_TEST_SERVE"

func TestMain(m *testing.M) {
	text := os.Getenv(serve)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := server(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func server(text string) error {
	var args []string
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		return err
	}
	cfg := apiserver.Defaults()
	flags := pflag.NewFlagSet("apiserver", pflag.ContinueOnError)
	cfg.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := apiserver.New(cfg)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return s.Run(ctx)
}

// cluster is an etcd of three members and some API servers.
type cluster struct {
	t       *testing.T
	dir     string
	ca      *certs.Cluster
	members []*member
	servers []*apiServer
}

// member is one of etcd's, in this process.
type member struct {
	cfg  *embed.Config
	etcd *embed.Etcd
}

func (m *member) start(t *testing.T) {
	t.Helper()
	etcd, err := embed.StartEtcd(m.cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.etcd = etcd
}

// stop ends a member as a crash does: nothing is handed over.
func (m *member) stop() {
	if m.etcd != nil {
		m.etcd.Server.HardStop()
		m.etcd.Close()
		m.etcd = nil
	}
}

func freeURL(t *testing.T) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

// start makes a cluster of n API servers that are ready.
func start(t *testing.T, n int) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "several")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &cluster{t: t, dir: dir}
	c.startEtcd()
	if c.ca, err = certs.EnsureCluster(filepath.Join(dir, "pki"), certs.Config{Names: []string{"127.0.0.1"}}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		s := &apiServer{cluster: c, name: fmt.Sprintf("192.0.2.%d", i+1), way: newWay(t, c)}
		c.servers = append(c.servers, s)
		s.start()
	}
	for _, s := range c.servers {
		s.waitReady()
	}
	return c
}

func (c *cluster) startEtcd() {
	initial := ""
	for i := range 3 {
		cfg := embed.NewConfig()
		client, peer := freeURL(c.t), freeURL(c.t)
		cfg.Name, cfg.Dir = fmt.Sprintf("m%d", i), filepath.Join(c.dir, fmt.Sprintf("etcd%d", i))
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
		cfg.UnsafeNoFsync, cfg.ZapLoggerBuilder = true, embed.NewZapLoggerBuilder(zap.NewNop())
		initial += fmt.Sprintf("%s=%s,", cfg.Name, peer.String())
		c.members = append(c.members, &member{cfg: cfg})
	}
	var starting sync.WaitGroup
	for _, m := range c.members {
		m.cfg.InitialCluster = initial[:len(initial)-1]
		starting.Go(func() { m.start(c.t) })
	}
	starting.Wait()
	for _, m := range c.members {
		c.t.Cleanup(m.stop)
		select {
		case <-m.etcd.Server.ReadyNotify():
		case <-time.After(30 * time.Second):
			c.t.Fatal("etcd is not ready")
		}
	}
}

// apiServer is a process.
type apiServer struct {
	*cluster
	name string
	way  *way
	port int
	cmd  *exec.Cmd
	done chan struct{}
}

func (s *apiServer) start() {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	f, err := l.(*net.TCPListener).File()
	l.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	args, err := json.Marshal([]string{"--etcd-servers=" + s.way.urls(), "--cert-dir=" + filepath.Join(s.dir, "pki"), "--secure-port=0",
		"--listen-fds=3", "--advertise-address=" + s.name})
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(os.Args[0])
	s.cmd.Env = append(os.Environ(), serve+"="+string(args))
	s.cmd.ExtraFiles = []*os.File{f}
	log, err := os.OpenFile(filepath.Join(s.dir, s.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_ = cmd.Wait()
	}(s.cmd, s.done)
	s.t.Cleanup(s.kill)
}

// kill is kill -9.
func (s *apiServer) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *apiServer) signal(sig syscall.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *apiServer) config() *rest.Config {
	pair, err := s.ca.CA.Issue(certs.Leaf{CommonName: "admin", Organization: []string{"system:masters"}, Client: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return &rest.Config{WarningHandler: rest.NoWarnings{}, Host: fmt.Sprintf("https://127.0.0.1:%d", s.port), QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.ca.CA.CertPEM, CertData: pair.Cert, KeyData: pair.Key}}
}

func (s *apiServer) client() kubernetes.Interface {
	c, err := kubernetes.NewForConfig(s.config())
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// once is a client that does not try again by itself.
func (s *apiServer) once() kubernetes.Interface {
	config := s.config()
	config.WrapTransport = func(rt http.RoundTripper) http.RoundTripper { return noRetry{rt} }
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// noRetry takes away what makes client-go try again.
type noRetry struct{ http.RoundTripper }

func (n noRetry) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.RoundTripper.RoundTrip(r)
	if resp != nil {
		resp.Header.Del("Retry-After")
	}
	return resp, err
}

func (s *apiServer) waitReady() {
	s.t.Helper()
	client := s.client().Discovery().RESTClient()
	eventually(s.t, 60*time.Second, func() error {
		select {
		case <-s.done:
			log, _ := os.ReadFile(filepath.Join(s.dir, s.name+".log"))
			s.t.Fatalf("%s ended\n%s", s.name, log)
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return client.Get().AbsPath("/readyz").Do(ctx).Error()
	})
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

// way is a server's way to etcd: a forwarder for each member, which can be cut.
type way struct {
	forwards []*forward
}

func newWay(t *testing.T, c *cluster) *way {
	w := &way{}
	for _, m := range c.members {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f := &forward{Listener: l, to: m.cfg.ListenClientUrls[0].Host, open: make(chan struct{})}
		close(f.open)
		w.forwards = append(w.forwards, f)
		go f.run()
		t.Cleanup(func() { l.Close() })
	}
	return w
}

func (w *way) urls() string {
	out := ""
	for _, f := range w.forwards {
		out += ",http://" + f.Addr().String()
	}
	return out[1:]
}

// cut lets nothing through any more, and says so to nobody: packets are lost.
func (w *way) cut() {
	for _, f := range w.forwards {
		f.mu.Lock()
		f.open = make(chan struct{})
		f.mu.Unlock()
	}
}

func (w *way) mend() {
	for _, f := range w.forwards {
		f.mu.Lock()
		close(f.open)
		f.mu.Unlock()
	}
}

type forward struct {
	net.Listener
	to string
	mu sync.Mutex
	// open is closed while data may pass.
	open chan struct{}
}

func (f *forward) wait() {
	f.mu.Lock()
	open := f.open
	f.mu.Unlock()
	<-open
}

func (f *forward) run() {
	for {
		in, err := f.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			f.wait()
			out, err := net.Dial("tcp", f.to)
			if err != nil {
				return
			}
			defer out.Close()
			go f.pump(in, out)
			f.pump(out, in)
		}()
	}
}

// pump passes data on until an end closes.
func (f *forward) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		f.wait()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				return
			}
			return
		}
	}
}
