package server

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

// outcomes count the results of something that happens to every request, and how long it took. Their series are made once.
type outcomes map[string]outcome

type outcome struct {
	count prometheus.Counter
	took  prometheus.Observer
}

func newOutcomes(count *prometheus.CounterVec, took *prometheus.HistogramVec, results ...string) outcomes {
	out := outcomes{}
	for _, r := range results {
		out[r] = outcome{count.WithLabelValues(r), took.WithLabelValues(r)}
	}
	return out
}

func (o outcomes) observe(result string, start time.Time) {
	o[result].count.Inc()
	o[result].took.Observe(time.Since(start).Seconds())
}

// accessMetrics are upstream's about authentication and authorization.
type accessMetrics struct{ authentication, authorization outcomes }

func newAccessMetrics(reg *prometheus.Registry) accessMetrics {
	make := func(count, countHelp, took, tookHelp string, results ...string) outcomes {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: count, Help: countHelp}, []string{"result"})
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: took, Help: tookHelp, Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{"result"})
		reg.MustRegister(c, h)
		return newOutcomes(c, h, results...)
	}
	return accessMetrics{
		authentication: make("authentication_attempts", "[ALPHA] Counter of authenticated attempts.",
			"authentication_duration_seconds", "[ALPHA] Authentication duration in seconds broken out by result.", "success", "failure", "error"),
		authorization: make("authorization_attempts_total", "[ALPHA] Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
			"authorization_duration_seconds", "[ALPHA] Authorization duration in seconds broken out by result.", "allowed", "denied", "no-opinion", "error"),
	}
}

func (m accessMetrics) authenticated(user *request.User, err error, start time.Time) {
	result := "success"
	switch {
	case err != nil:
		result = "error"
	case user == nil:
		result = "failure"
	}
	m.authentication.observe(result, start)
}

func (m accessMetrics) authorized(decision kinds.Decision, err error, start time.Time) {
	result := "no-opinion"
	switch {
	case decision == kinds.Allow:
		result = "allowed"
	case err != nil:
		result = "error"
	case decision == kinds.Deny:
		result = "denied"
	}
	m.authorization.observe(result, start)
}

// buildInfo is a metric that says what runs.
func buildInfo(v Version) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubernetes_build_info",
		Help: "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
		ConstLabels: prometheus.Labels{"major": "1", "minor": "37", "git_version": v.Git, "git_commit": v.Commit, "git_tree_state": v.State,
			"build_date": v.BuildDate, "go_version": runtime.Version(), "compiler": runtime.Compiler, "platform": runtime.GOOS + "/" + runtime.GOARCH}})
	g.Set(1)
	return g
}
