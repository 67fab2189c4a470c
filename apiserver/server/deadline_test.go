package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// ending is a ResponseWriter that must not be used once its handler has returned, as that of HTTP/2.
type ending struct {
	http.ResponseWriter
	t        *testing.T
	returned chan struct{}
}

func (e *ending) SetReadDeadline(time.Time) error {
	select {
	case <-e.returned:
		e.t.Error("the writer is used after its handler has returned")
	default:
	}
	return nil
}

// A request that is cancelled in the moment in which its handler returns must not have its writer used after that.
func TestBodyDeadlineEndsWithTheHandler(t *testing.T) {
	for range 2000 {
		w := &ending{httptest.NewRecorder(), t, make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		over := bodyDeadline(ctx, w, httptest.NewRequest("POST", "/", strings.NewReader("body")))
		go cancel()
		over()
		close(w.returned)
	}
}

func TestBodyDeadlineStrikes(t *testing.T) {
	w := &striking{httptest.NewRecorder(), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	defer bodyDeadline(ctx, w, httptest.NewRequest("POST", "/", strings.NewReader("body")))()
	cancel()
	select {
	case <-w.struck:
	case <-time.After(10 * time.Second):
		t.Error("reads go on after the request's time")
	}
}

type striking struct {
	http.ResponseWriter
	struck chan struct{}
}

func (s *striking) SetReadDeadline(time.Time) error {
	close(s.struck)
	return nil
}
