package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// serveHealth answers /healthz on the loopback address, without TLS: whoever supervises the agent asks there.
func (a *Agent) serveHealth(ctx context.Context) error {
	if a.cfg.HealthPort == 0 {
		<-ctx.Done()
		return nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(a.cfg.HealthPort)))
	if err != nil {
		return fmt.Errorf("health port: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.healthy(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte("ok"))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// healthy asks the loop for a sign of life.
func (a *Agent) healthy(ctx context.Context) error {
	alive := make(chan struct{})
	a.ask(func() { close(alive) })
	select {
	case <-alive:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Second):
		return errors.New("the loop of the agent does not answer")
	}
}
