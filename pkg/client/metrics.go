package client

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// measure makes client-go count its requests under upstream's names, once a process. The counts are shown wherever the
// process shows prometheus's default registry.
var measure = sync.OnceFunc(func() {
	seconds := []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}
	bytes := []float64{64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"verb", "host"})
	}
	m := requestMetrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rest_client_requests_total",
			Help: "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host."}, []string{"code", "method", "host"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rest_client_request_retries_total",
			Help: "[ALPHA] Number of request retries, partitioned by status code, verb, and host."}, []string{"code", "verb", "host"}),
		latency:   histogram("rest_client_request_duration_seconds", "[ALPHA] Request latency in seconds. Broken down by verb, and host.", seconds),
		throttled: histogram("rest_client_rate_limiter_duration_seconds", "[ALPHA] Client side rate limiter latency in seconds. Broken down by verb, and host.", seconds),
		sent:      histogram("rest_client_request_size_bytes", "[ALPHA] Request size in bytes. Broken down by verb and host.", bytes),
		received:  histogram("rest_client_response_size_bytes", "[ALPHA] Response size in bytes. Broken down by verb and host.", bytes),
	}
	prometheus.MustRegister(m.results, m.retries, m.latency, m.throttled, m.sent, m.received)
	metrics.Register(metrics.RegisterOpts{
		RequestLatency: durations{m.latency}, RateLimiterLatency: durations{m.throttled},
		RequestSize: sizes{m.sent}, ResponseSize: sizes{m.received}, RequestResult: counts{m.results}, RequestRetry: retries{m.retries},
	})
})

type requestMetrics struct {
	results, retries                   *prometheus.CounterVec
	latency, throttled, sent, received *prometheus.HistogramVec
}

type durations struct{ *prometheus.HistogramVec }

func (d durations) Observe(_ context.Context, verb string, u url.URL, latency time.Duration) {
	d.WithLabelValues(verb, u.Host).Observe(latency.Seconds())
}

type sizes struct{ *prometheus.HistogramVec }

func (s sizes) Observe(_ context.Context, verb, host string, size float64) {
	s.WithLabelValues(verb, host).Observe(size)
}

type counts struct{ *prometheus.CounterVec }

func (c counts) Increment(_ context.Context, code, method, host string) {
	c.WithLabelValues(code, method, host).Inc()
}

type retries struct{ *prometheus.CounterVec }

func (r retries) IncrementRetry(_ context.Context, code, method, host string) {
	r.WithLabelValues(code, method, host).Inc()
}
