package server

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/skiff-project/skiff/apiserver/request"
)

// metrics are upstream's, by name and labels, so that existing dashboards and alerts work.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	slis      *prometheus.HistogramVec
	sizes     *prometheus.HistogramVec
	long      *prometheus.GaugeVec
	users     *prometheus.CounterVec
	aborts    *prometheus.CounterVec

	// series keeps what the labels of a request lead to: finding them in the vectors costs more than counting.
	series    sync.Map // of labelSet to *series
	userCount sync.Map // of string to prometheus.Counter
	known     func(group, version, resource, subresource string) bool

	reading, writing atomic.Int64
}

var (
	durationBuckets = []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}
	requestLabels   = []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	dryRunLabels    = []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}
)

func newMetrics(reg *prometheus.Registry, known func(group, version, resource, subresource string) bool) *metrics {
	counter := func(name, help string, labels []string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels []string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		reg.MustRegister(h)
		return h
	}
	gauge := func(name, help string, labels []string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		known: known,
		requests: counter("apiserver_request_total", "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
			append(append([]string{}, dryRunLabels...), "code")),
		durations: histogram("apiserver_request_duration_seconds", "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
			durationBuckets, dryRunLabels),
		slis: histogram("apiserver_request_sli_duration_seconds", "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.",
			durationBuckets[2:], requestLabels),
		sizes: histogram("apiserver_response_sizes", "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
			prometheus.ExponentialBuckets(1000, 10, 7), requestLabels),
		long: gauge("apiserver_longrunning_requests", "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
			requestLabels),
		users: counter("authenticated_user_requests", "[ALPHA] Counter of authenticated requests broken out by username.", []string{"username"}),
		aborts: counter("apiserver_request_aborts_total", "[ALPHA] Number of requests which apiserver aborted possibly due to a timeout, for each group, version, verb, resource, subresource and scope",
			[]string{"verb", "group", "version", "resource", "subresource", "scope"}),
	}
	for kind, n := range map[string]*atomic.Int64{"readOnly": &m.reading, "mutating": &m.writing} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "apiserver_current_inflight_requests",
			Help:        "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
			ConstLabels: prometheus.Labels{"request_kind": kind}}, func() float64 { return float64(n.Load()) }))
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// labelSet is all that tells the series of one request from another's.
type labelSet struct {
	verb, dryRun, group, version, resource, subresource, scope string
	code                                                       int
}

type series struct {
	count    prometheus.Counter
	duration prometheus.Observer
	sli      prometheus.Observer
	size     prometheus.Observer
}

func (m *metrics) find(l labelSet) *series {
	if s, ok := m.series.Load(l); ok {
		return s.(*series)
	}
	const component = "apiserver"
	dry := []string{l.verb, l.dryRun, l.group, l.version, l.resource, l.subresource, l.scope, component}
	plain := []string{l.verb, l.group, l.version, l.resource, l.subresource, l.scope, component}
	s := &series{
		count:    m.requests.WithLabelValues(append(append([]string{}, dry...), strconv.Itoa(l.code))...),
		duration: m.durations.WithLabelValues(dry...),
		size:     m.sizes.WithLabelValues(plain...),
	}
	if l.verb != "WATCH" && l.verb != "CONNECT" {
		s.sli = m.slis.WithLabelValues(plain...)
	}
	m.series.Store(l, s)
	return s
}

// observe counts a request that begins; what it returns counts its end.
func (m *metrics) observe(w *response, r *http.Request, state *request.State, start time.Time) func() {
	info := state.Info
	l := m.labels(r, info)
	inflight := &m.writing
	if info.ReadOnly() {
		inflight = &m.reading
	}
	var long prometheus.Gauge
	if info.LongRunning() {
		long = m.long.WithLabelValues(l.verb, l.group, l.version, l.resource, l.subresource, l.scope, "apiserver")
		long.Inc()
	} else {
		inflight.Add(1)
	}
	return func() {
		if long != nil {
			long.Dec()
		} else {
			inflight.Add(-1)
		}
		l.code = w.code
		if l.code == 0 {
			l.code = http.StatusOK // nothing written is an empty 200
		}
		s := m.find(l)
		s.count.Inc()
		took := time.Since(start).Seconds()
		s.duration.Observe(took)
		if s.sli != nil {
			s.sli.Observe(took)
		}
		if r.Method == http.MethodGet {
			s.size.Observe(float64(w.bytes))
		}
	}
}

// labels names a request for metrics. A resource that does not exist must not make a series: anybody could fill the
// memory with them.
func (m *metrics) labels(r *http.Request, info *request.Info) labelSet {
	l := labelSet{verb: metricVerb(r, info)}
	if !info.IsResource {
		// Few paths are served and all others are one.
		switch first, _, _ := strings.Cut(strings.TrimPrefix(info.Path, "/"), "/"); first {
		case "healthz", "livez", "readyz", "metrics", "version":
			l.subresource = "/" + first
		}
		return l
	}
	if strings.Contains(r.URL.RawQuery, "dryRun") {
		l.dryRun = "invalid"
		if values := r.URL.Query()["dryRun"]; len(values) > 0 && values[0] == "All" {
			l.dryRun = "All"
		}
	}
	if !m.known(info.Group, info.Version, info.Resource, info.Subresource) {
		return l
	}
	l.group, l.version, l.resource, l.subresource = info.Group, info.Version, info.Resource, info.Subresource
	switch {
	case info.Name != "" || info.Verb == "create":
		l.scope = "resource"
	case info.Namespace != "":
		l.scope = "namespace"
	default:
		l.scope = "cluster"
	}
	return l
}

func metricVerb(r *http.Request, info *request.Info) string {
	if info.IsResource {
		switch info.Subresource {
		case "log", "exec", "portforward", "attach", "proxy":
			return "CONNECT"
		}
		switch info.Verb {
		case "list", "watch":
			return strings.ToUpper(info.Verb)
		case "deletecollection":
			return "DELETECOLLECTION"
		case "patch":
			if strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch") {
				return "APPLY"
			}
		}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return "GET"
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return r.Method
	}
	return "other"
}

// user counts an authenticated request. Every user but the cluster's own is "other", as upstream has it.
func (m *metrics) user(u *request.User) {
	name := "other"
	switch {
	case u.Name == "system:admin" || u.Name == "admin" || u.Name == "client" || u.Name == "kubelet" || u.Name == "system:node" || u.Name == anonymous,
		strings.HasPrefix(u.Name, "system:kube-"), u.Name == "system:apiserver":
		name = u.Name
	case strings.HasPrefix(u.Name, "system:node:"):
		name = "system:node"
	}
	c, ok := m.userCount.Load(name)
	if !ok {
		c, _ = m.userCount.LoadOrStore(name, m.users.WithLabelValues(name))
	}
	c.(prometheus.Counter).Inc()
}
