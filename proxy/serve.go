package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// staleAfter is how long a change may wait before the proxy calls itself unhealthy; upstream's twice the sync period.
const staleAfter = time.Minute

// serve opens the health and metrics listeners; stop closes them.
func (p *Proxy) serve(ctx context.Context) (stop func(), err error) {
	var servers []*http.Server
	stop = func() {
		for _, s := range servers {
			_ = s.Close() // the process ends
		}
	}
	healthMux := http.NewServeMux()
	healthMux.HandleFunc("/healthz", p.healthz)
	healthMux.HandleFunc("/livez", p.healthz)
	metricsMux := http.NewServeMux()
	metricsMux.Handle("/metrics", promhttp.HandlerFor(p.registry(), promhttp.HandlerOpts{}))
	metricsMux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	metricsMux.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "iptables") })
	for _, s := range []struct {
		address string
		handler http.Handler
	}{{p.HealthAddress, healthMux}, {p.MetricsAddress, metricsMux}} {
		if s.address == "" {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
		if err != nil {
			stop()
			return nil, fmt.Errorf("proxy: %w", err)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, server)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				slog.Error("listener ended", "address", s.address, "error", err)
			}
		}()
	}
	return stop, nil
}

// healthz answers as upstream's does: 503 if changes have waited too long.
func (p *Proxy) healthz(w http.ResponseWriter, _ *http.Request) {
	since := p.stats.waitingSince.Load()
	healthy := since == 0 || time.Since(time.Unix(0, since)) < staleAfter
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !healthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client may be gone
		"lastUpdated": time.Unix(0, p.stats.lastApplied.Load()).String(), "currentTime": time.Now().String(), "nodeEligible": true,
	})
}

// registry has the metrics under upstream's names where it has them.
func (p *Proxy) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When rules were last applied.", func() float64 { return float64(p.stats.lastApplied.Load()) / 1e9 })
	gauge("kubeproxy_sync_proxy_rules_last_duration_seconds", "How long the last application took.", func() float64 { return float64(p.stats.lastDuration.Load()) / 1e9 })
	gauge("kubeproxy_services", "Services with rules.", func() float64 { return float64(p.stats.services.Load()) })
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "kubeproxy_sync_proxy_rules_total", Help: "Applications of rules."}, func() float64 { return float64(p.stats.applies.Load()) }))
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", Help: "Failed applications of rules."}, func() float64 { return float64(p.stats.failures.Load()) }))
	return r
}
