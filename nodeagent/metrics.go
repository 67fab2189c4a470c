package nodeagent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/probes"
)

// metrics are the agent's own, under the kubelet's names.
type metrics struct {
	registry   *prometheus.Registry
	probes     *prometheus.CounterVec
	probeTimes *prometheus.HistogramVec
	starts     prometheus.Histogram
	refusals   *prometheus.CounterVec
	evictions  *prometheus.CounterVec
}

func newMetrics(a *Agent) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "prober_probe_total",
			Help: "Cumulative number of a liveness, readiness or startup probe for a container by result."}, []string{"probe_type", "result"}),
		probeTimes: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "prober_probe_duration_seconds", Help: "Duration in seconds for a probe response."}, []string{"probe_type"}),
		starts: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubelet_pod_start_total_duration_seconds",
			Help:    "Duration in seconds to start a pod since creation, including time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch.",
			Buckets: []float64{0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_admission_rejections_total", Help: "Cumulative number pod admission rejections by the Kubelet."}, []string{"reason"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_evictions",
			Help: "Cumulative number of pod evictions by eviction signal"}, []string{"eviction_signal"}),
	}
	name := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_node_name", Help: "The node's name. The count is always 1."}, []string{"node"})
	name.WithLabelValues(a.cfg.NodeName).Set(1)
	running := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubelet_running_pods", Help: "Number of pods that have a running pod sandbox"}, func() float64 {
		n := 0
		for _, p := range a.Pods() {
			if p.Status.PodIP != "" && !over(p) {
				n++
			}
		}
		return float64(n)
	})
	m.registry.MustRegister(m.probes, m.probeTimes, m.starts, m.refusals, m.evictions, name, running, &containerStates{a},
		prometheus.NewGoCollector(), prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{})) //nolint:staticcheck // the successor needs one package more
	return m
}

func (m *metrics) probe(kind probes.Kind, o probes.Outcome, took time.Duration) {
	result := "successful"
	if o == probes.Failure {
		result = "failed"
	}
	m.probes.WithLabelValues(string(kind), result).Inc()
	m.probeTimes.WithLabelValues(string(kind)).Observe(took.Seconds())
}

// containerStates counts containers as the API shows them.
type containerStates struct{ a *Agent }

var containersDesc = prometheus.NewDesc("kubelet_running_containers", "Number of containers currently running", []string{"container_state"}, nil)

// Describe implements prometheus.Collector.
func (c *containerStates) Describe(ch chan<- *prometheus.Desc) { ch <- containersDesc }

// Collect implements prometheus.Collector.
func (c *containerStates) Collect(ch chan<- prometheus.Metric) {
	counts := map[string]int{"created": 0, "running": 0, "exited": 0}
	for _, p := range c.a.Pods() {
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
			for i := range list {
				switch {
				case list[i].State.Running != nil:
					counts["running"]++
				case list[i].State.Terminated != nil:
					counts["exited"]++
				default:
					counts["created"]++
				}
			}
		}
	}
	for state, n := range counts {
		ch <- prometheus.MustNewConstMetric(containersDesc, prometheus.GaugeValue, float64(n), state)
	}
}
