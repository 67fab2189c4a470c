package encryption

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/status"
)

// metrics have upstream's names.
type metrics struct {
	operations *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	reloads    *prometheus.CounterVec
	reloaded   prometheus.Gauge
}

func newMetrics(to prometheus.Registerer) metrics {
	m := metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_storage_transformation_operations_total",
			Help: "[ALPHA] Total number of transformations. Successful transformation will have a status 'OK' and a varied status string when the transformation fails."},
			[]string{"transformation_type", "transformer_prefix", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_storage_transformation_duration_seconds",
			Help: "[ALPHA] Latencies in seconds of value transformation operations.", Buckets: prometheus.ExponentialBuckets(5e-6, 2, 25)},
			[]string{"transformation_type", "transformer_prefix"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_encryption_config_controller_automatic_reloads_total",
			Help: "[ALPHA] Total number of reload successes and failures of encryption configuration."}, []string{"status"}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
			Help: "[ALPHA] Timestamp of the last successful automatic reload of encryption configuration."}),
	}
	if to != nil {
		to.MustRegister(m.operations, m.durations, m.reloads, m.reloaded)
	}
	return m
}

func (m *metrics) observe(direction, prefix string, start time.Time, err error) {
	if prefix == "" {
		prefix = "identity"
	}
	m.operations.WithLabelValues(direction, prefix, status.Code(err).String()).Inc()
	if err == nil {
		m.durations.WithLabelValues(direction, prefix).Observe(time.Since(start).Seconds())
	}
}

// prefixOf is the prefix of the transformer that a value is for.
func (p *prefixes) prefixOf(sealed []byte) string {
	for _, t := range p.list {
		if t.prefix != "" && strings.HasPrefix(string(sealed[:min(len(sealed), len(t.prefix))]), t.prefix) {
			return t.prefix
		}
	}
	if strings.HasPrefix(string(sealed[:min(len(sealed), len(encrypted))]), string(encrypted)) {
		return "unknown"
	}
	return ""
}
