package h2_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/skiff-project/skiff/apiserver/h2"
)

// FuzzFrames sends anything behind the preface. Whatever it is, the server ends the connection or goes on with it, and serves
// others: no panic, and no connection that nobody answers for.
func FuzzFrames(f *testing.F) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body) // requests are cut short here
	}))
	srv.Listener = h2.Listener(srv.Listener)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{NextProtos: []string{"h2"}}
	(&h2.Server{MaxStreams: 8, StreamWindow: 1 << 10, MaxHeaderBytes: 4 << 10}).Configure(srv.Config)
	srv.StartTLS()
	f.Cleanup(srv.Close)

	frame := func(kind, flags byte, id byte, payload ...byte) []byte {
		return append([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, id}, payload...)
	}
	join := func(frames ...[]byte) (all []byte) {
		for _, b := range frames {
			all = append(all, b...)
		}
		return all
	}
	settings := frame(4, 0, 0)
	get := encode(":method", "GET", ":scheme", "https", ":path", "/", ":authority", "x")
	post := encode(":method", "POST", ":scheme", "https", ":path", "/", ":authority", "x", "content-length", "3")
	f.Add(join(settings, frame(1, 5, 1, get...)))
	f.Add(join(settings, frame(1, 4, 1, post...), frame(0, 1, 1, 'a', 'b', 'c')))
	f.Add(join(settings, frame(1, 4, 1, post...), frame(0, 0, 1, 'a'), frame(3, 0, 1, 0, 0, 0, 8), frame(0, 1, 1, 'b')))
	f.Add(join(settings, frame(1, 0, 1, get[:3]...), frame(9, 4, 1, get[3:]...)))
	f.Add(join(frame(4, 0, 0, 0, 4, 0, 0, 0, 1), frame(1, 5, 3, get...), frame(8, 0, 3, 0x7f, 0xff, 0xff, 0xff), frame(8, 0, 0, 0, 0, 1, 0)))
	f.Add(join(settings, frame(6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), frame(7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), frame(2, 0, 1, 0, 0, 0, 1, 0)))

	f.Fuzz(func(t *testing.T, frames []byte) {
		conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(append([]byte(http2.ClientPreface), frames...)); err != nil {
			return // it has been ended already
		}
		// The end of what is said ends the connection, if nothing has before.
		if err := conn.CloseWrite(); err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection stays")
		}
	})
}
