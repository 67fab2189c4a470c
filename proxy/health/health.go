// Package health answers load balancers that ask whether a node has endpoints of a service of its own
// (Service.spec.healthCheckNodePort), one listener per service.
package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Servers are the listeners. Not safe for concurrent use, but for the answers.
type Servers struct {
	byService map[types.NamespacedName]*server
}

type server struct {
	port  uint16
	local atomic.Int64
	http  *http.Server
}

// New returns no servers.
func New() *Servers { return &Servers{byService: map[types.NamespacedName]*server{}} }

// Set says how many endpoints of a service are on this node; port 0 ends its listener.
func (s *Servers) Set(name types.NamespacedName, port uint16, local int) error {
	srv := s.byService[name]
	if srv != nil && srv.port != port {
		_ = srv.http.Close() // nobody is owed an answer on a port that the service no longer has
		delete(s.byService, name)
		srv = nil
	}
	if port == 0 {
		return nil
	}
	if srv == nil {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return fmt.Errorf("health check of service %s: %w", name, err)
		}
		srv = &server{port: port}
		srv.http = &http.Server{Handler: srv.handler(name), ReadHeaderTimeout: 10 * time.Second}
		s.byService[name] = srv
		go func() {
			if err := srv.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				slog.Error("health check listener ended", "service", name, "error", err)
			}
		}()
	}
	srv.local.Store(int64(local))
	return nil
}

// Close ends all listeners.
func (s *Servers) Close() {
	for name, srv := range s.byService {
		_ = srv.http.Close() // the process ends
		delete(s.byService, name)
	}
}

func (s *server) handler(name types.NamespacedName) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		local := s.local.Load()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", fmt.Sprint(local))
		if local == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{ // the client may be gone
			"service": map[string]string{"namespace": name.Namespace, "name": name.Name}, "localEndpoints": local, "serviceProxyHealthy": true,
		})
	})
}
