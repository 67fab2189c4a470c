package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
	"github.com/skiff-project/skiff/apiserver/server/audit"
	"github.com/skiff-project/skiff/apiserver/server/fairness"
)

// Authenticator finds out who sends a request.
type Authenticator interface {
	// Authenticate answers nil without an error for somebody unknown who may not be anonymous. The request is not changed.
	Authenticate(r *http.Request) (*request.User, error)
	// Strip removes from a request what it was authenticated by, so that no handler can pass it on.
	Strip(h http.Header)
}

// Authorizer decides whether a user may do something.
type Authorizer interface {
	Decide(ctx context.Context, access kinds.Access) (decision kinds.Decision, reason string, err error)
}

// Check is one line of /readyz?verbose.
type Check struct {
	Name string
	// Ready alone: the check is part of /readyz, and not of /livez and /healthz.
	ReadyOnly bool
	Check     func(ctx context.Context) error
}

// Config of a Server.
type Config struct {
	// Listeners are served with TLS. They are closed by Run.
	Listeners []net.Listener
	// TLS names the server's certificates.
	TLS *tls.Config

	Authn Authenticator
	Authz Authorizer
	// Audit may be nil.
	Audit *audit.Log
	// Fair may be nil: no limit then.
	Fair *fairness.Gate

	// API answers for objects, Discovery for /api, /apis and their groups and versions.
	API       http.Handler
	Discovery http.Handler
	// Paths are all others. A path that ends in a slash stands for everything below it, too.
	Paths map[string]http.Handler
	// Checks besides ping, log and shutdown, in the order of their lines.
	Checks []Check

	// Knows says whether there is such a resource, for metrics. Default: all are known.
	Knows func(group, version, resource, subresource string) bool
	// Metrics takes the server's metrics and is shown at /metrics.
	Metrics *prometheus.Registry
	// Timeout ends a request that is not long-running. Default: 60 s.
	Timeout time.Duration
	// Grace is how long a stop waits for requests in flight. Default: 5 s.
	Grace time.Duration
	// Profiling shows /debug/pprof to those who are authorized.
	Profiling bool
	// Version is what /version says and metrics carry.
	Version Version
	// Log defaults to slog.Default.
	Log *slog.Logger
}

func (c *Config) setDefaults() {
	if c.Timeout == 0 {
		c.Timeout = 60 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Knows == nil {
		c.Knows = func(_, _, _, _ string) bool { return true }
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
}
