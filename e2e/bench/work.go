package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// work is one thing to measure. The works run in order and build on each other.
type work struct {
	name, unit   string
	lessIsBetter bool
	run          func(ctx context.Context, l *load) (float64, error)
}

var works = []work{
	{"create pods", "/s", false, bare((*load).createPods)},
	{"patch pod status", "/s", false, bare((*load).patchStatus)},
	{"get one pod", "/s", false, bare((*load).getPods)},
	{"list all pods, JSON", "MB/s", false, func(ctx context.Context, l *load) (float64, error) { return l.listPods(ctx, "application/json") }},
	{"list all pods, protobuf", "MB/s", false, func(ctx context.Context, l *load) (float64, error) {
		return l.listPods(ctx, "application/vnd.kubernetes.protobuf")
	}},
	{"watch fan-out, 200 watchers x 2,000 updates", "events/s", false, bare((*load).fanOut)},
	{"memory (PSS) of the API server after that", "MB", true, func(_ context.Context, l *load) (float64, error) { return l.server.pss() }},
}

func bare(f func(*load, context.Context) (float64, error)) func(context.Context, *load) (float64, error) {
	return func(ctx context.Context, l *load) (float64, error) { return f(l, ctx) }
}

// load makes requests of a server.
type load struct {
	server        *server
	pods, writers int
}

const namespace = "bench"

func (l *load) do(ctx context.Context, method, path, contentType, accept string, body []byte) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, method, l.server.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "bench")
	resp, err := l.server.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status is the error; the text only explains
		return 0, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return io.Copy(io.Discard, resp.Body)
}

// spread calls f for 0 to n-1 from so many goroutines and returns calls a second.
func spread(ctx context.Context, n, workers int, f func(ctx context.Context, i int) error) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	start := time.Now()
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// pod is of the size of a pod in use: about 3.7 kB in JSON once it is stored with its status.
func pod(i int) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name(i), Namespace: namespace, Labels: map[string]string{
			"app": "web", "pod-template-hash": "5d78c9869d", "tier": "front", "release": "stable", "number": fmt.Sprint(i),
		}, Annotations: map[string]string{"example.com/note": strings.Repeat("n", 400)}},
	}
	for _, n := range []string{"web", "sidecar"} {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "registry.example.com/team/" + n + ":v1.2.3",
			Env:   []corev1.EnvVar{{Name: "A", Value: strings.Repeat("a", 50)}, {Name: "B", Value: strings.Repeat("b", 50)}},
			Ports: []corev1.ContainerPort{{ContainerPort: 8080}}})
	}
	return p
}

func name(i int) string { return fmt.Sprintf("web-5d78c9869d-%05d", i) }

func (l *load) createPods(ctx context.Context) (float64, error) {
	for _, o := range []struct{ path, body string }{
		{"/api/v1/namespaces", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"` + namespace + `"}}`},
		{"/api/v1/namespaces/" + namespace + "/serviceaccounts", `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}`},
	} {
		if _, err := l.do(ctx, http.MethodPost, o.path, "application/json", "application/json", []byte(o.body)); err != nil {
			return 0, err
		}
	}
	bodies := make([][]byte, l.pods)
	for i := range bodies {
		b, err := json.Marshal(pod(i))
		if err != nil {
			return 0, err
		}
		bodies[i] = b
	}
	return spread(ctx, l.pods, l.writers, func(ctx context.Context, i int) error {
		_, err := l.do(ctx, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods", "application/json", "application/json", bodies[i])
		return err
	})
}

func (l *load) patchStatus(ctx context.Context) (float64, error) {
	body := []byte(`{"status":{"phase":"Running","podIP":"10.244.1.7","podIPs":[{"ip":"10.244.1.7"}],"conditions":[` +
		`{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"},{"type":"PodScheduled","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}],` +
		`"containerStatuses":[{"name":"web","ready":true,"restartCount":0,"image":"web","imageID":"sha256:1","state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}`)
	return spread(ctx, l.pods, l.writers, func(ctx context.Context, i int) error {
		_, err := l.do(ctx, http.MethodPatch, "/api/v1/namespaces/"+namespace+"/pods/"+name(i)+"/status", "application/strategic-merge-patch+json", "application/json", body)
		return err
	})
}

func (l *load) getPods(ctx context.Context) (float64, error) {
	return spread(ctx, 10*l.pods, l.writers, func(ctx context.Context, i int) error {
		_, err := l.do(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/pods/"+name(i%l.pods), "", "application/json", nil)
		return err
	})
}

func (l *load) listPods(ctx context.Context, accept string) (float64, error) {
	var bytes atomic.Int64
	const lists = 30
	perSecond, err := spread(ctx, lists, 4, func(ctx context.Context, _ int) error {
		n, err := l.do(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/pods", "", accept, nil)
		bytes.Add(n)
		return err
	})
	return perSecond / lists * float64(bytes.Load()) / 1e6, err
}

// fanOut counts the events that 200 watchers of everything get while 2,000 updates are made.
func (l *load) fanOut(ctx context.Context) (float64, error) {
	const watchers, updates = 200, 2000
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, fmt.Errorf("watchers did not get all events in 5 minutes"))
	defer cancel()
	revision, err := l.revision(ctx)
	if err != nil {
		return 0, err
	}
	var ready, group sync.WaitGroup
	errs := make(chan error, watchers)
	ready.Add(watchers)
	for range watchers {
		group.Go(func() {
			if err := l.watch(ctx, revision, updates, ready.Done); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	ready.Wait()
	start := time.Now()
	if _, err := spread(ctx, updates, 4, func(ctx context.Context, i int) error {
		body := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/update":"%d"}}}`, i)
		_, err := l.do(ctx, http.MethodPatch, "/api/v1/namespaces/"+namespace+"/pods/"+name(i%l.pods), "application/merge-patch+json", "application/json", body)
		return err
	}); err != nil {
		return 0, err
	}
	group.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
		return watchers * updates / time.Since(start).Seconds(), nil
	}
}

// revision is the collection's resourceVersion.
func (l *load) revision(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.base+"/api/v1/namespaces/"+namespace+"/pods?limit=1", nil)
	if err != nil {
		return "", err
	}
	resp, err := l.server.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var list metav1.PartialObjectMetadataList
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return "", err
	}
	return list.ResourceVersion, nil
}

// watch reads n events after a revision; each is one line.
func (l *load) watch(ctx context.Context, revision string, n int, ready func()) error {
	var once sync.Once
	defer once.Do(ready)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.base+"/api/v1/namespaces/"+namespace+"/pods?watch=1&resourceVersion="+revision, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := l.server.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status is the error; the text only explains
		return fmt.Errorf("watch: %s: %s", resp.Status, text)
	}
	once.Do(ready)
	buffer := make([]byte, 256<<10)
	for n > 0 {
		k, err := resp.Body.Read(buffer)
		n -= bytes.Count(buffer[:k], []byte{'\n'})
		if err != nil && n > 0 {
			return fmt.Errorf("watch ended with %d events to come: %w", n, err)
		}
	}
	return nil
}
