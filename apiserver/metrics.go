package apiserver

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/registry"
	"github.com/skiff-project/skiff/apiserver/server/fairness"
	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// registerMetrics adds numbers that are read when somebody asks for them.
func registerMetrics(to *prometheus.Registry, reg *registry.Registry, hub *watchcache.Hub, gate *fairness.Gate) {
	to.MustRegister(objectCounts{reg}, levelSeats{gate})
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "skiff_watch_cache_revision",
		Help: "The revision of etcd up to which this server knows everything."}, func() float64 { return float64(hub.Revision()) }))
}

// watchMetrics counts what is sent to watchers.
type watchMetrics struct {
	events *prometheus.CounterVec
	sizes  *prometheus.HistogramVec
	series sync.Map // of schema.GroupVersionResource to *watchSeries
}

type watchSeries struct {
	events prometheus.Counter
	sizes  prometheus.Observer
}

func newWatchMetrics(to *prometheus.Registry) *watchMetrics {
	labels := []string{"group", "version", "resource"}
	m := &watchMetrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_watch_events_total", Help: "[BETA] Number of events sent in watch clients"}, labels),
		sizes: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_watch_events_sizes", Help: "[BETA] Watch event size distribution in bytes",
			Buckets: prometheus.ExponentialBuckets(1024, 2, 8)}, labels),
	}
	to.MustRegister(m.events, m.sizes)
	return m
}

// observe counts a batch of events; of their sizes only the sum is known, so each counts as the mean.
func (m *watchMetrics) observe(gvr schema.GroupVersionResource, events, bytes int) {
	s, ok := m.series.Load(gvr)
	if !ok {
		s, _ = m.series.LoadOrStore(gvr, &watchSeries{m.events.WithLabelValues(gvr.Group, gvr.Version, gvr.Resource), m.sizes.WithLabelValues(gvr.Group, gvr.Version, gvr.Resource)})
	}
	s.(*watchSeries).events.Add(float64(events))
	for range events {
		s.(*watchSeries).sizes.Observe(float64(bytes) / float64(events))
	}
}

var objectCount = prometheus.NewDesc("apiserver_resource_objects",
	"[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.", []string{"group", "resource"}, nil)

// objectCounts counts the objects of each kind that is cached.
type objectCounts struct{ *registry.Registry }

func (c objectCounts) Describe(ch chan<- *prometheus.Desc) { ch <- objectCount }

func (c objectCounts) Collect(ch chan<- prometheus.Metric) {
	for _, kind := range c.Kinds() {
		res := c.Resource(kind.GroupResource())
		if res == nil || res.Reader == nil {
			continue
		}
		if n := res.Reader.Count(); n >= 0 {
			ch <- prometheus.MustNewConstMetric(objectCount, prometheus.GaugeValue, float64(n), kind.GVK.Group, kind.Resource)
		}
	}
}

var (
	seatsExecuting = prometheus.NewDesc("apiserver_flowcontrol_current_executing_requests",
		"[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem", []string{"priority_level"}, nil)
	seatsWaiting = prometheus.NewDesc("apiserver_flowcontrol_current_inqueue_requests",
		"[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem", []string{"priority_level"}, nil)
	seatsNominal = prometheus.NewDesc("apiserver_flowcontrol_nominal_limit_seats",
		"[BETA] Nominal number of execution seats configured for each priority level", []string{"priority_level"}, nil)
)

// levelSeats shows how the server is shared.
type levelSeats struct{ *fairness.Gate }

func (l levelSeats) Describe(ch chan<- *prometheus.Desc) {
	ch <- seatsExecuting
	ch <- seatsWaiting
	ch <- seatsNominal
}

func (l levelSeats) Collect(ch chan<- prometheus.Metric) {
	if l.Gate == nil {
		return
	}
	for _, s := range l.Stats() {
		ch <- prometheus.MustNewConstMetric(seatsExecuting, prometheus.GaugeValue, float64(s.Running), s.Level)
		ch <- prometheus.MustNewConstMetric(seatsWaiting, prometheus.GaugeValue, float64(s.Waiting), s.Level)
		ch <- prometheus.MustNewConstMetric(seatsNominal, prometheus.GaugeValue, float64(s.Nominal), s.Level)
	}
}
