package h2

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Server serves connections. Its fields are not changed once Configure has been called; what is zero has a default.
type Server struct {
	// MaxStreams is how many requests of one connection may be under way. Default 250.
	MaxStreams uint32
	// StreamWindow and ConnWindow are how many bytes of bodies a client may send before they are read: of one request, and of
	// all of a connection. Default 256 kB and 1 MB.
	StreamWindow, ConnWindow uint32
	// MaxHeaderBytes bounds a request's headers; larger ones are answered with 431. Default 1 MB.
	MaxHeaderBytes uint32
	// IdleTimeout ends connections without requests. Default 90 s.
	IdleTimeout time.Duration
	// PingAfter is how long a client may be silent before it is asked for a sign of life, PingTimeout how long that may take.
	// Default 30 s and 15 s.
	PingAfter, PingTimeout time.Duration
	// StallTimeout ends a connection that has taken no byte for so long, while there was something to send. Default 30 s.
	StallTimeout time.Duration
	// Log defaults to slog.Default.
	Log *slog.Logger

	workers workers

	mu    sync.Mutex
	conns map[*conn]struct{}
	gone  bool // goAway was called
}

func (s *Server) setDefaults() {
	number := func(v *uint32, value uint32) {
		if *v == 0 {
			*v = value
		}
	}
	duration := func(v *time.Duration, value time.Duration) {
		if *v == 0 {
			*v = value
		}
	}
	number(&s.MaxStreams, 250)
	number(&s.StreamWindow, 256<<10)
	number(&s.ConnWindow, 1<<20)
	number(&s.MaxHeaderBytes, 1<<20)
	s.ConnWindow = max(s.ConnWindow, firstWindow)
	duration(&s.IdleTimeout, 90*time.Second)
	duration(&s.PingAfter, 30*time.Second)
	duration(&s.PingTimeout, 15*time.Second)
	duration(&s.StallTimeout, 30*time.Second)
	if s.Log == nil {
		s.Log = slog.Default()
	}
}

// tendEvery is how often a connection looks after itself.
func (s *Server) tendEvery() time.Duration {
	return min(15*time.Second, s.IdleTimeout, s.PingAfter, s.PingTimeout)
}

// Configure lets s serve HTTP/2 for srv, whose listeners should be wrapped by Listener. srv.Shutdown asks clients to go and
// lets requests end; srv.Close ends all at once.
func (s *Server) Configure(srv *http.Server) {
	s.setDefaults()
	s.conns = map[*conn]struct{}{}
	s.workers.work, s.workers.stop = make(chan *stream), make(chan struct{})
	if srv.TLSNextProto == nil {
		srv.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	srv.TLSNextProto["h2"] = func(_ *http.Server, c *tls.Conn, h http.Handler) { s.serve(c, h) }
	srv.RegisterOnShutdown(s.goAway)
	if srv.TLSConfig != nil {
		// Records that begin small and grow are for browsers, which show what has arrived.
		srv.TLSConfig.DynamicRecordSizingDisabled = true
	}
}

// serve serves one connection, and returns when it has ended.
func (s *Server) serve(tc *tls.Conn, h http.Handler) {
	base := context.Background()
	// net/http passes the context of a connection by this method of the handler.
	if b, ok := h.(interface{ BaseContext() context.Context }); ok {
		base = b.BaseContext()
	}
	c := newConn(s, tc, h, base)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	gone := s.gone
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	if gone {
		c.drain()
	}
	c.serve()
}

// goAway asks all clients to send nothing more here.
func (s *Server) goAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	s.gone = true
	close(s.workers.stop)
	for c := range s.conns {
		c.drain()
	}
}
