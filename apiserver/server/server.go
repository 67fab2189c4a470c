package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/skiff-project/skiff/apiserver/h2"
)

// Server serves the API until its context ends.
type Server struct {
	cfg     Config
	paths   *paths
	metrics *metrics
	access  accessMetrics
	// stopping ends long-running requests; closing says it to /readyz first.
	stopping context.Context
	stop     context.CancelFunc
	closing  atomic.Bool
	// serving counts the requests that are being answered.
	serving atomic.Int64
}

// New makes a server. Nothing is served before Run.
func New(cfg Config) *Server {
	cfg.setDefaults()
	s := &Server{cfg: cfg, metrics: newMetrics(cfg.Metrics, cfg.Knows), access: newAccessMetrics(cfg.Metrics)}
	cfg.Metrics.MustRegister(buildInfo(cfg.Version))
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.paths = s.allPaths()
	return s
}

const (
	// Clients open a connection and keep it; watches share it. The numbers are upstream's.
	idleTimeout      = 90 * time.Second
	headerTimeout    = 32 * time.Second
	streamsPerClient = 1000
	streamWindow     = 256 << 10
	connectionWindow = streamWindow * 25
	maxHeaderBytes   = 1 << 20
)

// Run serves until ctx ends, then lets requests in flight end, and returns. Watches end at once: their clients
// connect again, to another server if there is one.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler: s, TLSConfig: s.cfg.TLS, IdleTimeout: idleTimeout, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(quiet{s.cfg.Log.Handler()}, slog.LevelDebug),
	}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	(&h2.Server{MaxStreams: streamsPerClient, StreamWindow: streamWindow, ConnWindow: connectionWindow, MaxHeaderBytes: maxHeaderBytes,
		IdleTimeout: idleTimeout, PingAfter: 30 * time.Second, PingTimeout: 15 * time.Second, Log: s.cfg.Log}).Configure(srv)
	ended := make(chan error, len(s.cfg.Listeners))
	for _, l := range s.cfg.Listeners {
		go func() { ended <- srv.ServeTLS(h2.Listener(keepAlive{l}), "", "") }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
		err = fmt.Errorf("listener: %w", err)
	}
	s.closing.Store(true)
	s.stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Grace)
	defer cancel()
	idle, served := context.WithCancel(grace)
	defer served()
	go s.untilServed(idle, served)
	// Shutdown closes the listeners and says goodbye; for connections of HTTP/2 it then waits a second or two, for nothing
	// once all requests have been served.
	if shutdown := srv.Shutdown(idle); shutdown != nil {
		_ = srv.Close()
		if !errors.Is(shutdown, context.DeadlineExceeded) && !errors.Is(shutdown, context.Canceled) && err == nil {
			err = shutdown
		}
	}
	return err
}

// farewell is the time that the last answers have to leave the machine.
const farewell = 100 * time.Millisecond

// untilServed calls served when no request is left.
func (s *Server) untilServed(ctx context.Context, served func()) {
	for s.serving.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(farewell):
		served()
	}
}

// keepAlive finds out about peers that vanished: watches say nothing for hours.
type keepAlive struct{ net.Listener }

func (l keepAlive) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 4})
	}
	return conn, err
}

// quiet keeps net/http's complaints about clients (handshakes that fail, connections cut) out of the log unless it is at
// the debug level.
type quiet struct{ slog.Handler }
