package control

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
)

// figures are the values of this package's metrics for one queue.
func figures(t *testing.T, name string) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "workqueue_") {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) != 1 || m.GetLabel()[0].GetValue() != name {
				continue
			}
			switch {
			case m.GetCounter() != nil:
				out[f.GetName()] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				out[f.GetName()] = m.GetGauge().GetValue()
			default:
				out[f.GetName()] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return out
}

func TestQueuesAreMeasured(t *testing.T) {
	l := NewLoop(Env{}, "sample-controller", 1, nil)
	defer l.queue.ShutDown()
	for i := range 3 {
		l.Add(fmt.Sprint(i))
	}
	l.Add("0") // waits already
	check := func(want map[string]float64) {
		t.Helper()
		got := figures(t, "sample")
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s is %v, want %v", name, got[name], value)
			}
		}
	}
	check(map[string]float64{"workqueue_adds_total": 3, "workqueue_depth": 3, "workqueue_queue_duration_seconds": 0})
	key, _ := l.queue.Get()
	if key != "0" {
		t.Errorf("got %q first", key)
	}
	check(map[string]float64{"workqueue_depth": 2, "workqueue_queue_duration_seconds": 1, "workqueue_work_duration_seconds": 0})
	if got := figures(t, "sample"); got["workqueue_unfinished_work_seconds"] <= 0 || got["workqueue_longest_running_processor_seconds"] <= 0 {
		t.Errorf("work is under way, but the figures are %v", got)
	}
	l.finished(key)
	check(map[string]float64{"workqueue_work_duration_seconds": 1, "workqueue_unfinished_work_seconds": 0})
	l.again(key)
	check(map[string]float64{"workqueue_retries_total": 1})
	var _ workqueue.Queue[string] = l.order
}
