package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// server is what `tool serve` runs.
type server struct {
	http, tcp, udp, grpc string
	readyAfter           time.Duration
	drain                time.Duration

	ready, healthy atomic.Bool
	rpc            *health.Server
}

func newServe() *cobra.Command {
	s := &server{rpc: health.NewServer()}
	cmd := &cobra.Command{
		Use: "serve", Args: cobra.NoArgs, Short: "Answer requests until told to stop",
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&s.http, "http", ":8080", "HTTP address")
	f.StringVar(&s.tcp, "tcp", "", "address that answers each line with itself over TCP")
	f.StringVar(&s.udp, "udp", "", "address that answers each packet with itself")
	f.StringVar(&s.grpc, "grpc", "", "address of the gRPC health service")
	f.DurationVar(&s.readyAfter, "ready-after", 0, "not ready before")
	f.DurationVar(&s.drain, "drain", 0, "how long to go on answering after SIGTERM")
	return cmd
}

func (s *server) run(ctx context.Context) error {
	s.healthy.Store(true)
	time.AfterFunc(s.readyAfter, func() { s.ready.Store(true) })
	web := &http.Server{Addr: s.http, Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 4)
	go func() { failed <- web.ListenAndServe() }()
	if s.tcp != "" {
		go func() { failed <- echoTCP(s.tcp) }()
	}
	if s.udp != "" {
		go func() { failed <- echoUDP(s.udp) }()
	}
	if s.grpc != "" {
		go func() { failed <- s.serveGRPC() }()
	}
	log.Printf("serving")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Printf("stopping")
	s.ready.Store(false)
	time.Sleep(s.drain)
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return web.Shutdown(stop)
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		client, _, _ := net.SplitHostPort(r.RemoteAddr) // the server made it
		_ = json.NewEncoder(w).Encode(map[string]string{"host": host, "client": client, "path": r.URL.Path, "via": r.Host})
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(d):
			fmt.Fprintln(w, host)
		case <-r.Context().Done():
		}
	})
	probe := func(path string, state *atomic.Bool) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			if !state.Load() {
				http.Error(w, "no", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ok")
		})
		mux.HandleFunc("POST "+path, func(_ http.ResponseWriter, r *http.Request) {
			state.Store(r.URL.Query().Get("ok") != "false")
			s.rpc.SetServingStatus("", map[bool]healthpb.HealthCheckResponse_ServingStatus{
				true: healthpb.HealthCheckResponse_SERVING, false: healthpb.HealthCheckResponse_NOT_SERVING,
			}[s.healthy.Load()])
		})
	}
	probe("/ready", &s.ready)
	probe("/healthy", &s.healthy)
	mux.HandleFunc("POST /exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	return mux
}

func (s *server) serveGRPC() error {
	l, err := net.Listen("tcp", s.grpc)
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, s.rpc)
	return g.Serve(l)
}

func echoTCP(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func echoUDP(addr string) error {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	b := make([]byte, 65536)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return errors.Join(err, c.Close())
		}
		if _, err := c.WriteTo(b[:n], from); err != nil {
			log.Print(err)
		}
	}
}
