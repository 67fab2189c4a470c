package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/e2e/lab"
)

const podsPath = "/api/v1/namespaces/" + namespace + "/pods"

// api measures an API server that comes to hold so many pods.
func (b *bench) api(ctx context.Context, size int) error {
	l, err := b.start(ctx, lab.Parts{API: b.side})
	if err != nil {
		return err
	}
	defer b.stop(l)
	load, err := newLoad(ctx, l)
	if err != nil {
		return err
	}
	defer load.close()
	a := &apiWork{bench: b, load: load, size: size}
	for _, work := range []func(context.Context) error{a.create, a.patchStatus, a.get, a.lists, a.fanOut, a.memory("API server's memory (PSS) after the fan-out"),
		a.rest, a.memory("API server's memory (PSS) ten seconds later"),
		a.ownNode, a.memory("API server's memory (PSS) after the watchers by node")} {
		if err := work(ctx); err != nil {
			return err
		}
	}
	return nil
}

type apiWork struct {
	*bench
	load *load
	size int
}

// timed measures n calls, and the server's processor time for each.
func (a *apiWork) timed(ctx context.Context, what string, n int, f func(ctx context.Context, i int) error) error {
	// A quarter of a processor is what asking takes. With more than one, threads of the client's would wake each other at the
	// expense of what is measured.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var rate float64
	cpu, err := used(a.load.lab, lab.API, func() (err error) {
		rate, err = spread(ctx, n, writers, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	a.report(what, "/s", more, rate)
	a.report(what+": processor time of the server", "us each", less, float64(cpu.Microseconds())/float64(n))
	return nil
}

// pod is of the size of a pod in use: about 3.7 kB in JSON once it is stored with its status.
func pod(i int) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: podName(i), Namespace: namespace, Labels: map[string]string{
			"app": "web", "pod-template-hash": "5d78c9869d", "tier": "front", "release": "stable", "number": fmt.Sprint(i),
		}, Annotations: map[string]string{"example.com/note": strings.Repeat("n", 400)}},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i%nodes)},
	}
	for _, n := range []string{"web", "sidecar"} {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "registry.example.com/team/" + n + ":v1.2.3",
			Env:   []corev1.EnvVar{{Name: "A", Value: strings.Repeat("a", 50)}, {Name: "B", Value: strings.Repeat("b", 50)}},
			Ports: []corev1.ContainerPort{{ContainerPort: 8080}}})
	}
	return p
}

func podName(i int) string { return fmt.Sprintf("web-5d78c9869d-%05d", i) }

func (a *apiWork) create(ctx context.Context) error {
	if err := a.load.namespaced(ctx, namespace); err != nil {
		return err
	}
	made, err := bodies(a.size, func(i int) any { return pod(i) })
	if err != nil {
		return err
	}
	return a.timed(ctx, "create pods, 32 at once", a.size, func(ctx context.Context, i int) error { return a.load.post(ctx, podsPath, made[i]) })
}

// status is what a node agent reports of a running pod.
const status = `{"status":{"phase":"Running","podIP":"10.244.1.7","podIPs":[{"ip":"10.244.1.7"}],"conditions":[` +
	`{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"},{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}],` +
	`"containerStatuses":[{"name":"web","ready":true,"restartCount":0,"image":"web","imageID":"sha256:1","state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}`

func (a *apiWork) patchStatus(ctx context.Context) error {
	return a.timed(ctx, "patch pod status, 32 at once", min(a.size, 5000), func(ctx context.Context, i int) error {
		return a.load.patch(ctx, podsPath+"/"+podName(i)+"/status", "application/strategic-merge-patch+json", []byte(status))
	})
}

func (a *apiWork) get(ctx context.Context) error {
	return a.timed(ctx, "get one pod, 32 at once", 20000, func(ctx context.Context, i int) error {
		_, err := a.load.get(ctx, podsPath+"/"+podName(i%a.size), jsonType)
		return err
	})
}

// lists reads all pods again and again, four readers at once, some 300 MB in all.
func (a *apiWork) lists(ctx context.Context) error {
	for _, format := range []struct{ name, accept string }{{"JSON", jsonType}, {"protobuf", protobufType}} {
		var bytes atomic.Int64
		n := max(4, 80000/a.size)
		perSecond, err := spread(ctx, n, connections, func(ctx context.Context, _ int) error {
			size, err := a.load.get(ctx, podsPath, format.accept)
			bytes.Add(size)
			return err
		})
		if err != nil {
			return err
		}
		a.report("list all pods, "+format.name, "MB/s", more, perSecond/float64(n)*float64(bytes.Load())/1e6)
	}
	return nil
}

// annotate makes an update that every watcher of the pod hears of.
func (a *apiWork) annotate(ctx context.Context, pod, i int) error {
	body := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/update":"%d"}}}`, i)
	return a.load.patch(ctx, podsPath+"/"+podName(pod), mergeType, body)
}

func begun(ctx context.Context, all []*watching) error {
	for _, w := range all {
		if err := w.begun(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fanOut measures events that 200 watchers of everything get while 2,000 updates are made.
func (a *apiWork) fanOut(ctx context.Context) error {
	const watchers, updates = 200, 2000
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	revision, err := a.load.revision(ctx, podsPath)
	if err != nil {
		return err
	}
	var all []*watching
	for i := range watchers {
		all = append(all, a.load.countOn(ctx, a.load.conns[i%len(a.load.conns)], podsPath, revision, line, updates))
	}
	if err := begun(ctx, all); err != nil {
		return fmt.Errorf("watch fan-out: %w", err)
	}
	var took time.Duration
	cpu, err := used(a.load.lab, lab.API, func() error {
		start := time.Now()
		if _, err := spread(ctx, updates, 4, func(ctx context.Context, i int) error { return a.annotate(ctx, i%a.size, i) }); err != nil {
			return err
		}
		for _, w := range all {
			if err := w.wait(ctx); err != nil {
				return err
			}
		}
		took = time.Since(start)
		return nil
	})
	if err != nil {
		return fmt.Errorf("watch fan-out: %w", err)
	}
	a.report("watch fan-out, 200 watchers x 2,000 updates", "events/s", more, watchers*updates/took.Seconds())
	a.report("watch fan-out: processor time of the server", "us an event", less, float64(cpu.Microseconds())/(watchers*updates))
	return nil
}

// ownNode measures updates while 1,000 watchers each see the pods of a node of their own: each update concerns one of them.
func (a *apiWork) ownNode(ctx context.Context) error {
	const updates, perConnection = 4000, 50
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := a.load.grow(ctx, nodes/perConnection); err != nil {
		return err
	}
	revision, err := a.load.revision(ctx, podsPath)
	if err != nil {
		return err
	}
	var all []*watching
	for i := range nodes {
		conn := a.load.conns[connections+i/perConnection]
		path := fmt.Sprintf("%s?fieldSelector=spec.nodeName%%3Dnode-%d", podsPath, i)
		all = append(all, a.load.countOn(ctx, conn, path, revision, line, updates/nodes))
	}
	if err := begun(ctx, all); err != nil {
		return fmt.Errorf("watchers by node: %w", err)
	}
	var took time.Duration
	cpu, err := used(a.load.lab, lab.API, func() error {
		start := time.Now()
		if _, err := spread(ctx, updates, writers, func(ctx context.Context, i int) error {
			// Not what fanOut has written: that would be no change, and no event.
			return a.annotate(ctx, i%min(a.size, nodes), 1_000_000+i)
		}); err != nil {
			return err
		}
		for _, w := range all {
			if err := w.wait(ctx); err != nil {
				return err
			}
		}
		took = time.Since(start)
		return nil
	})
	if err != nil {
		return fmt.Errorf("watchers by node: %w", err)
	}
	a.report("updates seen, 1,000 watchers by spec.nodeName", "/s", more, updates/took.Seconds())
	a.report("watchers by node: processor time of the server", "us an update", less, float64(cpu.Microseconds())/updates)
	return nil
}

// rest gives both servers the time to give back what the work before needed.
func (a *apiWork) rest(ctx context.Context) error {
	select {
	case <-time.After(10 * time.Second):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// memory reports what the server holds at once after what went before.
func (a *apiWork) memory(what string) func(context.Context) error {
	return func(context.Context) error {
		pid, err := a.load.lab.PID(lab.API)
		if err != nil {
			return err
		}
		pss, err := lab.PSS(pid)
		a.report(what, "MB", less, float64(pss)/1e6)
		return err
	}
}
