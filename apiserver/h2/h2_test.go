package h2_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/skiff-project/skiff/apiserver/h2"
)

// serving is a server of h2 and a client of Go's.
type serving struct {
	*httptest.Server
	client *http.Client
	host   string
}

func serve(t *testing.T, s *h2.Server, handler http.HandlerFunc) *serving {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Listener = h2.Listener(srv.Listener)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	s.Configure(srv.Config)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	client := srv.Client()
	client.Transport.(*http.Transport).DisableCompression = true
	t.Cleanup(client.CloseIdleConnections)
	return &serving{srv, client, srv.Listener.Addr().String()}
}

func (s *serving) do(t *testing.T, method, path string, body io.Reader, edit ...func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range edit {
		f(r)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.ProtoMajor != 2 {
		t.Fatalf("%s", resp.Proto)
	}
	return resp
}

func text(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswers(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Audit-Id"] = []string{"x"}
		switch r.URL.Path {
		case "/small":
			fmt.Fprint(w, "<html>hello")
		case "/empty":
		case "/none":
			w.WriteHeader(http.StatusNoContent)
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("a body behind 204: %v", err)
			}
		case "/declared":
			w.Header().Set("Content-Length", "100000")
			for range 10 {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 10000)); err != nil {
					t.Error(err)
				}
			}
			if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("more than declared: %v", err)
			}
		case "/late":
			w.WriteHeader(http.StatusTeapot)
			w.Header().Set("Late", "x")
			w.Header().Set("Content-Type", "late")
			fmt.Fprint(w, "x")
		case "/echo":
			w.Header().Set("Method", r.Method)
			w.Header().Set("Host", r.Host)
			w.Header().Set("Cookies", r.Header.Get("Cookie"))
			w.Header().Set("Many", strings.Join(r.Header.Values("Many"), "|"))
			w.Header().Set("Uri", r.RequestURI+" "+r.URL.RawQuery)
			_, _ = io.Copy(w, r.Body)
		case "/connection":
			w.Header().Set("Connection", "keep-alive")
			w.Header().Set("Transfer-Encoding", "chunked")
			fmt.Fprint(w, "x")
		}
	})
	for _, c := range []struct {
		method, path string
		code         int
		length       int64
		kind         string
		body         string
	}{
		{"GET", "/small", 200, 11, "text/html; charset=utf-8", "<html>hello"},
		{"HEAD", "/small", 200, 11, "text/html; charset=utf-8", ""},
		{"GET", "/empty", 200, 0, "", ""},
		{"GET", "/none", 204, 0, "", ""},
		{"GET", "/declared", 200, 100000, "", strings.Repeat("x", 100000)},
		{"HEAD", "/declared", 200, 100000, "", ""},
		{"GET", "/late", 418, 1, "text/plain; charset=utf-8", "x"},
		{"GET", "/connection", 200, 1, "text/plain; charset=utf-8", "x"},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			resp := s.do(t, c.method, c.path, nil)
			body := text(t, resp.Body)
			if resp.StatusCode != c.code || resp.ContentLength != c.length || body != c.body || c.kind != "" && resp.Header.Get("Content-Type") != c.kind {
				t.Errorf("%s, %d bytes, %v, %.20q", resp.Status, resp.ContentLength, resp.Header, body)
			}
			if resp.Header.Get("Audit-Id") != "x" || resp.Header.Get("Date") == "" || resp.Header.Get("Late") != "" || resp.Header.Get("Connection") != "" {
				t.Errorf("headers: %v", resp.Header)
			}
		})
	}
	resp := s.do(t, "PUT", "/echo?a=b", strings.NewReader("text"), func(r *http.Request) {
		r.Host = "example.com"
		r.Header.Add("Cookie", "a=b; c=d")
		r.Header["Many"] = []string{"1", "2"}
	})
	if got := text(t, resp.Body); got != "text" {
		t.Errorf("%q", got)
	}
	for name, want := range map[string]string{"Method": "PUT", "Host": "example.com", "Cookies": "a=b; c=d", "Many": "1|2", "Uri": "/echo?a=b a=b"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Bodies larger than every window, both ways, many at once on one connection.
func TestLargeBodies(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	content := make([]byte, 3<<20+17)
	_, _ = rand.Read(content) // it never fails
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			resp, err := s.client.Post(s.URL, "x/y", bytes.NewReader(content))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
		})
	}
	group.Wait()
}

func TestManySmallAnswers(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			for j := range 200 {
				want := fmt.Sprintf("%d.%d", i, j)
				resp, err := s.client.Post(s.URL, "x/y", strings.NewReader(want))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(got) != want {
					t.Errorf("%q for %q, %v", got, want, err)
				}
			}
		})
	}
	group.Wait()
}

// More events than anybody reads are held back by the window, and come when there is a reader.
func TestFlushedPieces(t *testing.T) {
	var written sync.WaitGroup
	written.Add(1)
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		defer written.Done()
		for i := range 3000 {
			fmt.Fprintf(w, "%08d%s\n", i, strings.Repeat("e", 1991))
			w.(http.Flusher).Flush()
		}
	})
	resp := s.do(t, "GET", "/", nil)
	one := make([]byte, 2000)
	for i := range 3000 {
		if _, err := io.ReadFull(resp.Body, one); err != nil || string(one[:8]) != fmt.Sprintf("%08d", i) {
			t.Fatalf("piece %d: %.8s, %v", i, one, err)
		}
	}
	written.Wait()
}

func TestCancelledRequests(t *testing.T) {
	ended := make(chan error, 2)
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		_, err := w.Write(make([]byte, 10<<10))
		ended <- errors.Join(err, w.(interface{ FlushError() error }).FlushError())
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("writing to a client that has gone succeeds")
		}
	case <-time.After(10 * time.Second):
		t.Error("the handler is not told")
	}
}

func TestDeadlines(t *testing.T) {
	results := make(chan error, 1)
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		var err error
		switch r.URL.Path {
		case "/read":
			_ = control.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusRequestTimeout)
		case "/write":
			_ = control.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			for err == nil {
				_, err = w.Write(make([]byte, 64<<10))
			}
		case "/lifted":
			_ = control.SetReadDeadline(time.Now().Add(time.Hour))
			_ = control.SetWriteDeadline(time.Now().Add(time.Hour))
			err = errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}))
		}
		results <- err
	})
	pipe, end := io.Pipe()
	defer end.Close()
	if resp := s.do(t, "POST", "/read", pipe); resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%s", resp.Status)
	}
	if err := <-results; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading: %v", err)
	}
	resp := s.do(t, "GET", "/write", nil)
	if err := <-results; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing: %v", err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("half an answer looks like a whole one")
	}
	s.do(t, "GET", "/lifted", nil)
	if err := <-results; err != nil {
		t.Error(err)
	}
}

func TestTrailersAndInformation(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "early")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "Sum")
		body, _ := io.ReadAll(r.Body) // the trailer tells
		w.Header().Set("Saw", r.Trailer.Get("Client-Sum"))
		_, _ = w.Write(body)
		w.Header().Set("Sum", "3")
		w.Header().Set(http.TrailerPrefix+"Other", "4")
	})
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprintf("%d %s", code, h.Get("Link")))
		return nil
	}}
	resp := s.do(t, "POST", "/", io.MultiReader(strings.NewReader("abc")), func(r *http.Request) {
		*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
		r.Trailer = http.Header{"Client-Sum": {"7"}}
	})
	if got := text(t, resp.Body); got != "abc" || resp.Header.Get("Saw") != "7" || resp.Trailer.Get("Sum") != "3" || resp.Trailer.Get("Other") != "4" {
		t.Errorf("%q, %v, trailers %v", got, resp.Header, resp.Trailer)
	}
	if len(hints) != 1 || hints[0] != "103 early" {
		t.Errorf("%v", hints)
	}
}

func TestExpectContinue(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			t.Error("the handler sees what the server does")
		}
		_, _ = io.Copy(w, r.Body)
	})
	s.client.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
	resp := s.do(t, "POST", "/", strings.NewReader("abc"), func(r *http.Request) { r.Header.Set("Expect", "100-continue") })
	if got := text(t, resp.Body); got != "abc" {
		t.Errorf("%q", got)
	}
}

func TestPanicsCutTheAnswer(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fine" {
			return
		}
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	resp := s.do(t, "GET", "/", nil)
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "half" {
		t.Errorf("%q, %v", b, err)
	}
	s.do(t, "GET", "/fine", nil)
}

// A handler that returns early leaves the rest of a body unread; the connection serves on.
func TestUnreadBodies(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })
	for range 20 {
		resp := s.do(t, "POST", "/", bytes.NewReader(make([]byte, 1<<20)))
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatal(resp.Status)
		}
		_ = text(t, resp.Body)
	}
}

func TestHeadersThatAreTooLarge(t *testing.T) {
	s := serve(t, &h2.Server{MaxHeaderBytes: 8 << 10}, func(w http.ResponseWriter, r *http.Request) {})
	resp := s.do(t, "GET", "/", nil, func(r *http.Request) { r.Header.Set("X", strings.Repeat("x", 7<<10)) })
	if resp.StatusCode != 200 {
		t.Errorf("%s", resp.Status)
	}
	conn := dial(t, s)
	conn.request(t, 1, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x", "x", strings.Repeat("x", 5<<10), "y", strings.Repeat("y", 5<<10))
	for {
		switch f := conn.next(t).(type) {
		case *http2.MetaHeadersFrame:
			if f.PseudoValue("status") != "431" {
				t.Errorf("%v", f)
			}
			return
		case *http2.GoAwayFrame:
			t.Fatalf("%v", f)
		}
	}
}

// The server asks clients to go, and lets them finish.
func TestShutdown(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		fmt.Fprint(w, strings.Repeat("x", 1<<20))
	})
	got := make(chan string, 1)
	go func() {
		resp, err := s.client.Get(s.URL)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		got <- fmt.Sprint(len(b), err)
	}()
	<-begun
	done := make(chan error, 1)
	go func() { done <- s.Config.Shutdown(t.Context()) }()
	select {
	case <-done:
		t.Fatal("the shutdown does not wait")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if text := <-got; text != fmt.Sprint(1<<20, nil) {
		t.Errorf("the request that was under way: %s", text)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the shutdown does not end")
	}
}

func TestConnectionClose(t *testing.T) {
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, r.RemoteAddr)
	})
	first := text(t, s.do(t, "GET", "/", nil).Body)
	deadline := time.Now().Add(10 * time.Second)
	for text(t, s.do(t, "GET", "/", nil).Body) == first {
		if time.Now().After(deadline) {
			t.Fatal("the connection is used on")
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	s := serve(t, &h2.Server{IdleTimeout: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {})
	conn := dial(t, s)
	for {
		if _, err := conn.framer.ReadFrame(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			return
		}
	}
}

func TestSilentClientsAreGivenUp(t *testing.T) {
	over := make(chan struct{})
	s := serve(t, &h2.Server{PingAfter: 50 * time.Millisecond, PingTimeout: 50 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(over)
	})
	conn := dial(t, s)
	conn.request(t, 1, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x")
	pinged := false
	for {
		f, err := conn.framer.ReadFrame()
		if err != nil {
			break
		}
		if p, ok := f.(*http2.PingFrame); ok && !p.IsAck() {
			pinged = true
		}
	}
	if !pinged {
		t.Error("no ping came")
	}
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Error("the handler goes on")
	}
}

// A client that reads nothing holds no more than a window and the buffers, and is left in the end.
func TestStalledClients(t *testing.T) {
	over := make(chan struct{})
	s := serve(t, &h2.Server{StallTimeout: 200 * time.Millisecond}, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				close(over)
				return
			}
		}
	})
	conn := dial(t, s)
	conn.grant(t, 0, 1<<30)
	conn.request(t, 1, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x")
	conn.grant(t, 1, 1<<30)
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		t.Error("the server goes on writing")
	}
}

// Requests that are cancelled as fast as they are made (CVE-2023-44487) do not pile up.
func TestRapidReset(t *testing.T) {
	var most, now int
	var mu sync.Mutex
	release := make(chan struct{})
	s := serve(t, &h2.Server{MaxStreams: 10}, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		<-release
		mu.Lock()
		now--
		mu.Unlock()
	})
	defer close(release)
	conn := dial(t, s)
	go func() {
		for id := uint32(1); id < 2000; id += 2 {
			if conn.send(id, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x") != nil || conn.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
		_ = conn.framer.WritePing(false, [8]byte{'d', 'o', 'n', 'e'}) // the test reads what comes of it
	}()
	for over := false; !over; {
		switch f := conn.next(t).(type) {
		case *http2.GoAwayFrame:
			over = true
			if f.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("%v", f)
			}
		case *http2.PingFrame:
			over = f.IsAck() // the server has seen all, and is not impressed
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if most > 10 {
		t.Errorf("%d handlers at once", most)
	}
}

// A handler's writer that is used when the handler has returned answers with errors.
func TestWriterOutlivesItsHandler(t *testing.T) {
	kept := make(chan http.ResponseWriter, 1)
	s := serve(t, &h2.Server{}, func(w http.ResponseWriter, r *http.Request) {
		select {
		case kept <- w:
		default:
		}
	})
	s.do(t, "GET", "/", nil)
	w := <-kept
	s.do(t, "GET", "/", nil) // the first handler has returned by now, or answers nothing more
	control := http.NewResponseController(w)
	deadline := time.Now().Add(10 * time.Second)
	for control.SetReadDeadline(time.Now()) == nil && time.Now().Before(deadline) {
	}
	if control.SetReadDeadline(time.Now()) == nil || control.SetWriteDeadline(time.Now()) == nil || control.Flush() == nil {
		t.Error("it is taken for one in use")
	}
}

// connection is a client that says what it is told to.
type connection struct {
	net.Conn
	framer *http2.Framer
}

func dial(t *testing.T, s *serving) *connection {
	t.Helper()
	conn, err := tls.Dial("tcp", s.host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := &connection{Conn: conn, framer: http2.NewFramer(conn, conn)}
	c.framer.ReadMetaHeaders = newDecoder()
	if err := c.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *connection) send(id uint32, fields ...string) error {
	block := encode(fields...)
	first := true
	for first || len(block) > 0 {
		n := min(len(block), 16<<10)
		var err error
		if first {
			err = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndStream: true, EndHeaders: n == len(block)})
		} else {
			err = c.framer.WriteContinuation(id, n == len(block), block[:n])
		}
		if err != nil {
			return err
		}
		block, first = block[n:], false
	}
	return nil
}

func (c *connection) request(t *testing.T, id uint32, fields ...string) {
	t.Helper()
	if err := c.send(id, fields...); err != nil {
		t.Fatal(err)
	}
}

func (c *connection) grant(t *testing.T, id, n uint32) {
	t.Helper()
	if err := c.framer.WriteWindowUpdate(id, n); err != nil {
		t.Fatal(err)
	}
}

func (c *connection) next(t *testing.T) http2.Frame {
	t.Helper()
	f, err := c.framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	return f
}
