package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/e2e/bench/raw"
	"github.com/skiff-project/skiff/e2e/lab"
)

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
	mergeType    = "application/merge-patch+json"
	// writers is how many requests are under way at once.
	writers     = 32
	connections = 4
	namespace   = "bench"
)

// load makes requests of a lab's API server.
type load struct {
	lab   *lab.Lab
	conns []*raw.Conn
	next  atomic.Uint64
}

func newLoad(ctx context.Context, l *lab.Lab) (*load, error) {
	made := &load{lab: l}
	return made, made.grow(ctx, connections)
}

// grow opens more connections.
func (l *load) grow(ctx context.Context, n int) error {
	config, err := rest.TLSConfigFor(l.lab.REST)
	if err != nil {
		return err
	}
	for range n {
		c, err := raw.Dial(ctx, l.lab.Dial, strings.TrimPrefix(l.lab.Base, "https://"), config)
		if err != nil {
			return err
		}
		l.conns = append(l.conns, c)
	}
	return nil
}

func (l *load) close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// conn takes turns among the first connections; further ones are for watches, of which a server takes a hundred on each.
func (l *load) conn() *raw.Conn { return l.conns[l.next.Add(1)%connections] }

func (l *load) post(ctx context.Context, path string, body []byte) error {
	_, err := l.conn().Do(ctx, raw.Request{Method: http.MethodPost, Path: path, ContentType: jsonType, Accept: jsonType, Body: body}, nil)
	return err
}

func (l *load) patch(ctx context.Context, path, contentType string, body []byte) error {
	_, err := l.conn().Do(ctx, raw.Request{Method: http.MethodPatch, Path: path, ContentType: contentType, Accept: jsonType, Body: body}, nil)
	return err
}

// get returns the length of an answer.
func (l *load) get(ctx context.Context, path, accept string) (int64, error) {
	return l.conn().Do(ctx, raw.Request{Method: http.MethodGet, Path: path, Accept: accept}, nil)
}

// read decodes an answer.
func (l *load) read(ctx context.Context, path string, into any) error {
	var body bytes.Buffer
	_, err := l.conn().Do(ctx, raw.Request{Method: http.MethodGet, Path: path, Accept: jsonType}, func(b []byte) bool {
		body.Write(b)
		return true
	})
	if err != nil {
		return err
	}
	return json.Unmarshal(body.Bytes(), into)
}

// revision is a collection's resourceVersion.
func (l *load) revision(ctx context.Context, path string) (string, error) {
	var list struct {
		Metadata struct{ ResourceVersion string }
	}
	err := l.read(ctx, path+"?limit=1", &list)
	return list.Metadata.ResourceVersion, err
}

// namespaced makes a namespace with its service account, which no controller is there to make.
func (l *load) namespaced(ctx context.Context, name string) error {
	if err := l.post(ctx, "/api/v1/namespaces", fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":%q}}`, name)); err != nil {
		return err
	}
	return l.post(ctx, "/api/v1/namespaces/"+name+"/serviceaccounts", []byte(`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}`))
}

// watching counts lines of a watch that hold a mark. Its channel is closed when there were as many as wanted.
type watching struct {
	started, done chan struct{}

	seen atomic.Int64
	err  error // once done is closed
}

// begun waits until the server has taken the watch.
func (w *watching) begun(ctx context.Context) error {
	select {
	case <-w.started:
		return nil
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *watching) wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %d events came", context.Cause(ctx), w.seen.Load())
	}
}

// count watches a collection from a revision on until n events have come that hold mark.
func (l *load) count(ctx context.Context, path, revision, mark string, n int) *watching {
	return l.countOn(ctx, l.conn(), path, revision, mark, n)
}

func (l *load) countOn(ctx context.Context, conn *raw.Conn, path, revision, mark string, n int) *watching {
	w := &watching{started: make(chan struct{}), done: make(chan struct{})}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	var once sync.Once
	events := &lines{w: w, mark: []byte(mark), want: int64(n), revision: revision}
	read := events.read
	if mark == line {
		// Counting ends of lines needs no whole lines, and costs next to nothing.
		read = func(b []byte) bool { return w.seen.Add(int64(bytes.Count(b, []byte(mark)))) < int64(n) }
	}
	go func() {
		defer close(w.done)
		for {
			events.rest = events.rest[:0]
			request := raw.Request{Method: http.MethodGet, Path: path + sep + "watch=1&resourceVersion=" + events.revision, Accept: jsonType,
				Started: func() { once.Do(func() { close(w.started) }) }}
			_, err := conn.Do(ctx, request, read)
			if w.seen.Load() >= int64(n) {
				return
			}
			// A server may end a watch whose reader is slow, and clients begin again where they were.
			if err == nil && events.failed == "" && mark != line && ctx.Err() == nil {
				continue
			}
			w.err = fmt.Errorf("watch of %s ended after %d of %d events: %w %s", path, w.seen.Load(), n, orEnd(err), events.failed)
			return
		}
	}()
	return w
}

// lines counts the events of a watch that hold a mark, and notes how far the watch has come.
type lines struct {
	w        *watching
	mark     []byte
	want     int64
	rest     []byte // of a line whose end has not come
	revision string // of the last event
	failed   string // the server's word on why the watch cannot go on
}

func (l *lines) read(b []byte) bool {
	l.rest = append(l.rest, b...)
	done := 0
	for {
		end := bytes.IndexByte(l.rest[done:], '\n')
		if end < 0 {
			break
		}
		l.event(l.rest[done : done+end])
		done += end + 1
	}
	l.rest = l.rest[:copy(l.rest, l.rest[done:])]
	return l.w.seen.Load() < l.want && l.failed == ""
}

func (l *lines) event(text []byte) {
	if bytes.HasPrefix(text, []byte(`{"type":"ERROR"`)) {
		l.failed = string(text)
		return
	}
	if bytes.Contains(text, l.mark) {
		l.w.seen.Add(1)
	}
	if _, rest, ok := bytes.Cut(text, []byte(`"resourceVersion":"`)); ok {
		if revision, _, ok := bytes.Cut(rest, []byte{'"'}); ok {
			l.revision = string(revision)
		}
	}
}

func orEnd(err error) error {
	if err == nil {
		return fmt.Errorf("the server ended it")
	}
	return err
}

// added marks the events of new objects; line those of any kind.
const (
	added = `{"type":"ADDED"`
	line  = "\n"
)

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

// bodies makes n request bodies beforehand.
func bodies(n int, object func(i int) any) ([][]byte, error) {
	all := make([][]byte, n)
	for i := range all {
		b, err := json.Marshal(object(i))
		if err != nil {
			return nil, err
		}
		all[i] = b
	}
	return all, nil
}
