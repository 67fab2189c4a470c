package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiff-project/skiff/nodeagent/cgroups"
	"github.com/skiff-project/skiff/nodeagent/runtime"
	"github.com/skiff-project/skiff/pkg/linger"
)

// Pods is what the server needs of the agent.
type Pods interface {
	// Pod returns a pod of this node with its status as the agent last wished it. The result is not changed.
	Pod(namespace, name string) (*corev1.Pod, bool)
	// Pods returns all.
	Pods() []*corev1.Pod
}

// Config of a Server.
type Config struct {
	NodeName string
	// Address and Port to listen on.
	Address string
	Port    int
	// CertFile and KeyFile are the certificate shown; read again when they change. Without them a self-signed one is made
	// in CertDir for NodeName and IPs.
	CertFile, KeyFile string
	CertDir           string
	IPs               []string
	// ClientCAFile holds the authorities whose client certificates are believed.
	ClientCAFile string
	// Anonymous lets requests without any credential be asked about as system:anonymous.
	Anonymous bool

	// Client reviews tokens and access.
	Client  kubernetes.Interface
	Runtime runtime.Runtime
	Images  runtime.Images
	Pods    Pods
	// Cgroups, where the runtime is native, tells what the node's pods use together.
	Cgroups *cgroups.Manager
	// LogRoot is shown under /logs/: /var/log.
	LogRoot string
	// Health says what is wrong, if anything.
	Health func(context.Context) error
	// Configz is shown under /configz as it is encoded to JSON.
	Configz any
	// Metrics gathers the agent's own; nil is the process' default.
	Metrics prometheus.Gatherer
	Log     *slog.Logger
}

// Server answers requests.
type Server struct {
	config  Config
	log     *slog.Logger
	auth    *auth
	handler http.Handler
	certs   *certificate
	rates   rates
}

// New checks the configuration and prepares the certificate.
func New(config Config) (*Server, error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.Metrics == nil {
		config.Metrics = prometheus.DefaultGatherer
	}
	if config.LogRoot == "" {
		config.LogRoot = "/var/log"
	}
	s := &Server{config: config, log: config.Log}
	var err error
	if s.auth, err = newAuth(config); err != nil {
		return nil, err
	}
	if s.certs, err = openCertificate(config); err != nil {
		return nil, err
	}
	s.handler = s.auth.wrap(s.routes())
	return s, nil
}

// Handler is everything behind TLS.
func (s *Server) Handler() http.Handler { return s.handler }

// Run listens until ctx ends. Streams that are open then are cut.
func (s *Server) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(s.config.Address, strconv.Itoa(s.config.Port)))
	if err != nil {
		return fmt.Errorf("node API: %w", err)
	}
	return s.Serve(ctx, listener)
}

// Serve answers on a listener until ctx ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       90 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: s.certs.get,
			// Asked for and not required: who shows none may have a token. Checked in auth.go.
			ClientAuth: tls.RequestClientCert,
		},
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) routes() http.Handler {
	r := mux.NewRouter().UseEncodedPath()
	r.HandleFunc("/healthz", s.healthz)
	r.HandleFunc("/healthz/{check}", s.healthz)
	r.HandleFunc("/pods", s.pods).Methods(http.MethodGet)
	r.HandleFunc("/runningpods/", s.runningPods).Methods(http.MethodGet)
	r.HandleFunc("/configz", s.configz).Methods(http.MethodGet)
	r.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", s.containerLogs).Methods(http.MethodGet)
	for path, serve := range map[string]http.HandlerFunc{"exec": lingering(s.exec), "attach": lingering(s.attach)} {
		r.HandleFunc("/"+path+"/{namespace}/{pod}/{container}", serve).Methods(http.MethodGet, http.MethodPost)
		r.HandleFunc("/"+path+"/{namespace}/{pod}/{uid}/{container}", serve).Methods(http.MethodGet, http.MethodPost)
	}
	r.HandleFunc("/run/{namespace}/{pod}/{container}", s.run).Methods(http.MethodPost)
	r.HandleFunc("/run/{namespace}/{pod}/{uid}/{container}", s.run).Methods(http.MethodPost)
	r.HandleFunc("/portForward/{namespace}/{pod}", lingering(s.portForward)).Methods(http.MethodGet, http.MethodPost)
	r.HandleFunc("/portForward/{namespace}/{pod}/{uid}", lingering(s.portForward)).Methods(http.MethodGet, http.MethodPost)
	r.HandleFunc("/images", s.listImages).Methods(http.MethodGet)
	r.HandleFunc("/images", s.loadImages).Methods(http.MethodPost)
	r.HandleFunc("/stats/summary", s.summary).Methods(http.MethodGet)
	r.Handle("/metrics", promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{}))
	r.Handle("/metrics/resource", gathered(&resourceMetrics{s}))
	r.Handle("/metrics/cadvisor", gathered(&containerMetrics{s}))
	r.Handle("/metrics/probes", gathered(nothing{}))
	r.PathPrefix("/logs/").Handler(http.StripPrefix("/logs/", http.FileServer(http.Dir(s.config.LogRoot)))).Methods(http.MethodGet)
	return r
}

// lingering lets a client who still sends receive all that it was sent before the connection closed.
func lingering(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { serve(linger.Writer(w), r) }
}
