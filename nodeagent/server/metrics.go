package server

import (
	"context"
	"net/http"
	goruntime "runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// gathered serves one collector on a path of its own.
func gathered(c prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

type nothing struct{}

func (nothing) Describe(chan<- *prometheus.Desc) {}
func (nothing) Collect(chan<- prometheus.Metric) {}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// collectTimeout bounds one scrape.
const collectTimeout = 10 * time.Second

// resourceMetrics is /metrics/resource: what metrics-server and autoscalers read.
type resourceMetrics struct{ s *Server }

var (
	inContainer = []string{"container", "pod", "namespace"}
	inPod       = []string{"pod", "namespace"}

	nodeCPUDesc        = desc("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds")
	nodeMemoryDesc     = desc("node_memory_working_set_bytes", "Current working set of the node in bytes")
	containerCPUDesc   = desc("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", inContainer...)
	containerMemDesc   = desc("container_memory_working_set_bytes", "Current working set of the container in bytes", inContainer...)
	containerStartDesc = desc("container_start_time_seconds", "Start time of the container since unix epoch in seconds", inContainer...)
	podCPUDesc         = desc("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", inPod...)
	podMemoryDesc      = desc("pod_memory_working_set_bytes", "Current working set of the pod in bytes", inPod...)
	scrapeErrorDesc    = desc("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise")
)

func (m *resourceMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodeCPUDesc, nodeMemoryDesc, containerCPUDesc, containerMemDesc, containerStartDesc, podCPUDesc, podMemoryDesc, scrapeErrorDesc} {
		ch <- d
	}
}

func (m *resourceMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	// Each value carries the time it was read at: rates are computed over that, not over the time of the scrape.
	put := func(at time.Time, d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.NewMetricWithTimestamp(at, prometheus.MustNewConstMetric(d, kind, v, labels...))
	}
	node := nodeUsage()
	put(node.Time, nodeCPUDesc, prometheus.CounterValue, seconds(node.CPUNanos))
	put(node.Time, nodeMemoryDesc, prometheus.GaugeValue, float64(node.MemoryWorking))
	usage, err := m.s.usage(ctx)
	failed := 0.0
	if err != nil {
		failed = 1
	}
	ch <- prometheus.MustNewConstMetric(scrapeErrorDesc, prometheus.GaugeValue, failed)
	for _, p := range usage {
		pod, namespace := p.sandbox.Pod.Name, p.sandbox.Pod.Namespace
		put(p.stats.Time, podCPUDesc, prometheus.CounterValue, seconds(p.stats.CPUNanos), pod, namespace)
		put(p.stats.Time, podMemoryDesc, prometheus.GaugeValue, float64(p.stats.MemoryWorking), pod, namespace)
		for _, c := range p.containers {
			put(c.stats.Time, containerCPUDesc, prometheus.CounterValue, seconds(c.stats.CPUNanos), c.status.Name, pod, namespace)
			put(c.stats.Time, containerMemDesc, prometheus.GaugeValue, float64(c.stats.MemoryWorking), c.status.Name, pod, namespace)
			ch <- prometheus.MustNewConstMetric(containerStartDesc, prometheus.GaugeValue, epoch(c.status.StartedAt), c.status.Name, pod, namespace)
		}
	}
}

func seconds(nanos uint64) float64 { return float64(nanos) / 1e9 }
func epoch(t time.Time) float64    { return float64(t.UnixNano()) / 1e9 }

// containerMetrics is /metrics/cadvisor: the names that dashboards know.
type containerMetrics struct{ s *Server }

var (
	cadvisorLabels = []string{"container", "id", "image", "name", "namespace", "pod"}
	cadvisorCPU    = desc("container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", append(cadvisorLabels, "cpu")...)
	cadvisorNet    = []string{"id", "image", "interface", "name", "namespace", "pod"}
	machineCores   = desc("machine_cpu_cores", "Number of logical CPU cores.")
	machineMemory  = desc("machine_memory_bytes", "Amount of memory installed on the machine.")
)

// gauges are the plain values of a control group.
var gauges = []struct {
	desc  *prometheus.Desc
	value func(containerUsage) float64
}{
	{desc("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", cadvisorLabels...), func(c containerUsage) float64 { return float64(c.stats.MemoryUsage) }},
	{desc("container_memory_working_set_bytes", "Current working set in bytes.", cadvisorLabels...), func(c containerUsage) float64 { return float64(c.stats.MemoryWorking) }},
	{desc("container_memory_rss", "Size of RSS in bytes.", cadvisorLabels...), func(c containerUsage) float64 { return float64(c.stats.MemoryRSS) }},
	{desc("container_spec_memory_limit_bytes", "Memory limit for the container.", cadvisorLabels...), func(c containerUsage) float64 { return float64(c.stats.MemoryLimit) }},
	{desc("container_processes", "Number of processes running inside the container.", cadvisorLabels...), func(c containerUsage) float64 { return float64(c.stats.Pids) }},
	{desc("container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", cadvisorLabels...), func(c containerUsage) float64 { return float64(c.stats.RootfsBytes) }},
	{desc("container_start_time_seconds", "Start time of the container since unix epoch in seconds.", cadvisorLabels...), func(c containerUsage) float64 { return epoch(c.stats.StartTime) }},
	{desc("container_last_seen", "Last time a container was seen by the exporter", cadvisorLabels...), func(c containerUsage) float64 { return epoch(c.stats.Time) }},
}

var networkCounters = []struct {
	desc  *prometheus.Desc
	value func(podUsage) uint64
}{
	{desc("container_network_receive_bytes_total", "Cumulative count of bytes received", cadvisorNet...), func(p podUsage) uint64 { return p.stats.Network.RxBytes }},
	{desc("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", cadvisorNet...), func(p podUsage) uint64 { return p.stats.Network.RxErrors }},
	{desc("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", cadvisorNet...), func(p podUsage) uint64 { return p.stats.Network.TxBytes }},
	{desc("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", cadvisorNet...), func(p podUsage) uint64 { return p.stats.Network.TxErrors }},
}

func (m *containerMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- cadvisorCPU
	ch <- machineCores
	ch <- machineMemory
	for _, g := range gauges {
		ch <- g.desc
	}
	for _, c := range networkCounters {
		ch <- c.desc
	}
}

func (m *containerMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	ch <- prometheus.MustNewConstMetric(machineCores, prometheus.GaugeValue, float64(goruntime.NumCPU()))
	ch <- prometheus.MustNewConstMetric(machineMemory, prometheus.GaugeValue, float64(meminfo()["MemTotal"]))
	usage, err := m.s.usage(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(machineCores, err)
		return
	}
	for _, p := range usage {
		sb := p.sandbox
		for _, c := range p.containers {
			labels := []string{c.status.Name, sb.CgroupParent + "/" + c.status.ID, c.status.Image, c.status.ID, sb.Pod.Namespace, sb.Pod.Name}
			ch <- prometheus.MustNewConstMetric(cadvisorCPU, prometheus.CounterValue, seconds(c.stats.CPUNanos), append(labels, "total")...)
			for _, g := range gauges {
				ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(c), labels...)
			}
		}
		if p.stats.Network == nil {
			continue
		}
		labels := []string{sb.CgroupParent, "", p.stats.Network.Interface, sb.ID, sb.Pod.Namespace, sb.Pod.Name}
		for _, c := range networkCounters {
			ch <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(c.value(p)), labels...)
		}
	}
}
