package watchcache

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// What an operation costs must not depend on how much there is, but on how much of it the operation is about. These
// benchmarks do the same at several sizes; the figures to compare are cpu-ns/object of lists, and cpu-ns/op of all others.
var sizes = []int{1_000, 10_000, 50_000}

// feed enters so many pods into the cache as etcd's watch would, ten on a node.
func (s *server) feed(b *testing.B, n int) {
	b.Helper()
	if err := s.hub.Ready(testContext(b)); err != nil {
		b.Fatal(err)
	}
	revision := s.hub.Revision()
	for i := 0; i < n; {
		var batch []storage.Change
		for range min(1000, n-i) {
			pod := bigPod(fmt.Sprintf("pod-%05d", i), fmt.Sprintf("node-%d", i/10))
			ch := change(key(pod), marshal(b, pod))[0]
			revision++
			ch.Revision = revision
			batch = append(batch, ch)
			i++
		}
		s.pods.follow(batch)
	}
}

// touch changes one pod of those that feed has made.
func (s *server) touch(b *testing.B, i, n int) {
	pod := bigPod(fmt.Sprintf("pod-%05d", i), fmt.Sprintf("node-%d", i/10))
	pod.Annotations["n"] = fmt.Sprint(n)
	ch := change(key(pod), marshal(b, pod))
	ch[0].Revision = s.pods.state.Load().revision + 1
	s.pods.follow(ch)
}

// BenchmarkBySize lists all pods, a page of them, and those of one node; then it has one pod change, and a watcher of all be
// told.
func BenchmarkBySize(b *testing.B) {
	for _, n := range sizes {
		s := one(b)
		s.feed(b, n)
		for _, c := range []struct {
			name string
			form Form
			opts ListOptions
		}{
			{"all, JSON", jsonForm, ListOptions{}}, {"all, protobuf", pbForm, ListOptions{}},
			{"a page of 500", jsonForm, ListOptions{Limit: 500}},
			{"a node", jsonForm, ListOptions{Fields: fieldSelector(b, "spec.nodeName=node-7")}},
		} {
			b.Run(fmt.Sprintf("%s of %d", c.name, n), func(b *testing.B) {
				items := 0
				list := func() {
					items = 0
					for _, o := range s.list(c.opts).Items {
						if _, err := o.Bytes(c.form); err != nil {
							b.Fatal(err)
						}
						items++
					}
				}
				list() // once to make the encodings
				start := processorTime(b)
				for b.Loop() {
					list()
				}
				b.ReportMetric(float64(processorTime(b)-start)/float64(b.N)/float64(items), "cpu-ns/object")
			})
		}
		b.Run(fmt.Sprintf("a change among %d", n), func(b *testing.B) {
			w, err := s.pods.Watch(context.Background(), WatchOptions{ResourceVersion: fmt.Sprint(s.pods.state.Load().revision)})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			start := processorTime(b)
			for i := 0; b.Loop(); i++ {
				s.touch(b, i*7%n, i)
				tell(b, w)
			}
			b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what this process has used, in nanoseconds: on a machine with other work it says more than the clock.
func processorTime(b *testing.B) int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// BenchmarkOwnNodeBySize has a pod of one node change while each node's pods are watched: what a change costs must not
// depend on how many watch other nodes.
func BenchmarkOwnNodeBySize(b *testing.B) {
	s := one(b)
	s.feed(b, 10_000)
	for _, nodes := range []int{1, 10, 100, 1_000} {
		b.Run(fmt.Sprintf("%d watchers", nodes), func(b *testing.B) {
			watchers := make([]Watcher, nodes)
			for i := range watchers {
				var err error
				watchers[i], err = s.pods.Watch(context.Background(), WatchOptions{ResourceVersion: fmt.Sprint(s.pods.state.Load().revision),
					Fields: fieldSelector(b, fmt.Sprintf("spec.nodeName=node-%d", i))})
				if err != nil {
					b.Fatal(err)
				}
				defer watchers[i].Close()
			}
			start := processorTime(b)
			for i := 0; b.Loop(); i++ {
				node := i % nodes
				s.touch(b, node*10+i%10, i)
				tell(b, watchers[node])
			}
			b.ReportMetric(float64(processorTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// tell takes the one event that a watcher has got.
func tell(b *testing.B, w Watcher) {
	events, err := w.Next(context.Background())
	if err != nil || len(events) != 1 || events[0].Status != nil {
		b.Fatalf("%v, %v", events, err)
	}
	if _, err := events[0].Frame(jsonForm); err != nil {
		b.Fatal(err)
	}
}
