package control

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Queues are measured under upstream's names. client-go's own measuring wakes every queue twice a second to look at the
// work that is under way; here that is looked at when somebody asks.
var (
	queueBuckets = prometheus.ExponentialBuckets(1e-8, 10, 10)
	queueLabels  = []string{"name"}

	queueAdds = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "workqueue_adds_total",
		Help: "[BETA] Total number of adds handled by workqueue"}, queueLabels)
	queueRetries = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "workqueue_retries_total",
		Help: "[BETA] Total number of retries handled by workqueue"}, queueLabels)
	queueWaits = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "workqueue_queue_duration_seconds",
		Help: "[BETA] How long in seconds an item stays in workqueue before being requested.", Buckets: queueBuckets}, queueLabels)
	queueWork = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "workqueue_work_duration_seconds",
		Help: "[BETA] How long in seconds processing an item from workqueue takes.", Buckets: queueBuckets}, queueLabels)

	queueDepth = prometheus.NewDesc("workqueue_depth", "[BETA] Current depth of workqueue", queueLabels, nil)
	queueOpen  = prometheus.NewDesc("workqueue_unfinished_work_seconds", "[BETA] How many seconds of work has done that is in progress and hasn't been observed by work_duration. "+
		"Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.", queueLabels, nil)
	queueLongest = prometheus.NewDesc("workqueue_longest_running_processor_seconds",
		"[BETA] How many seconds has the longest running processor for workqueue been running.", queueLabels, nil)

	measured gauges
)

func init() { prometheus.MustRegister(queueAdds, queueRetries, queueWaits, queueWork, &measured) }

// fifo is the order in which keys wait, as client-go's queue wants it: called by one goroutine at a time.
type fifo struct {
	adds, retries prometheus.Counter
	waits, work   prometheus.Observer

	mu    sync.Mutex // against whoever asks for metrics
	keys  []string
	since map[string]time.Time
	// working are the keys that are being reconciled.
	working map[string]time.Time
}

// newFIFO makes the queue of a controller.
func newFIFO(name string) *fifo {
	name = strings.TrimSuffix(name, "-controller")
	if name == "" {
		name = "controller-manager"
	}
	q := &fifo{adds: queueAdds.WithLabelValues(name), retries: queueRetries.WithLabelValues(name), waits: queueWaits.WithLabelValues(name), work: queueWork.WithLabelValues(name),
		since: map[string]time.Time{}, working: map[string]time.Time{}}
	measured.add(name, q)
	return q
}

// Touch implements workqueue.Queue.
func (q *fifo) Touch(string) {}

// Push implements workqueue.Queue.
func (q *fifo) Push(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.keys = append(q.keys, key)
	q.since[key] = time.Now()
	q.adds.Inc()
}

// Len implements workqueue.Queue.
func (q *fifo) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.keys)
}

// Pop implements workqueue.Queue.
func (q *fifo) Pop() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := q.keys[0]
	q.keys[0] = "" // its memory must not be held by the array
	if q.keys = q.keys[1:]; len(q.keys) == 0 {
		q.keys = nil
	}
	now := time.Now()
	q.waits.Observe(now.Sub(q.since[key]).Seconds())
	delete(q.since, key)
	q.working[key] = now
	return key
}

// done notes the end of the work on a key.
func (q *fifo) done(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.work.Observe(time.Since(q.working[key]).Seconds())
	delete(q.working, key)
}

// gauges are the queues of this process. Controllers of one name count together.
type gauges struct {
	mu     sync.Mutex
	queues map[string][]*fifo
}

func (g *gauges) add(name string, q *fifo) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.queues == nil {
		g.queues = map[string][]*fifo{}
	}
	g.queues[name] = append(g.queues[name], q)
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueDepth
	ch <- queueOpen
	ch <- queueLongest
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for name, queues := range g.queues {
		var depth, open, longest float64
		for _, q := range queues {
			q.mu.Lock()
			depth += float64(len(q.keys))
			for _, since := range q.working {
				seconds := now.Sub(since).Seconds()
				open, longest = open+seconds, max(longest, seconds)
			}
			q.mu.Unlock()
		}
		ch <- prometheus.MustNewConstMetric(queueDepth, prometheus.GaugeValue, depth, name)
		ch <- prometheus.MustNewConstMetric(queueOpen, prometheus.GaugeValue, open, name)
		ch <- prometheus.MustNewConstMetric(queueLongest, prometheus.GaugeValue, longest, name)
	}
}
