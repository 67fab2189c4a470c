package server

import (
	"context"
	"net/http"
	"time"
)

// patience is what a client gets beyond a request's own time to take its answer. A client that does not would otherwise hold
// the answer's memory for as long as its connection lives.
const patience = 5 * time.Second

// bodyDeadline makes reads of a request's body fail when the request's time is up. Bodies of long-running requests are
// streams, and have no end. Setting a deadline in advance would cost every write a message to its connection's goroutine.
func bodyDeadline(ctx context.Context, w http.ResponseWriter, r *http.Request) (stop func() bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() {
		// Connections that cannot have deadlines are those of tests.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	})
}

// largeAnswer is the size from which on an answer may have to wait for its reader: what is smaller fits into the buffers of
// connections, and setting a deadline for it would cost more than writing it.
const largeAnswer = 64 << 10

// limit arms the deadline of an answer that gets large.
func (w *response) limit(next int) {
	if w.deadline.IsZero() || w.armed || w.bytes+int64(next) < largeAnswer {
		return
	}
	w.armed = true
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.deadline.Add(patience))
}

// disarm leaves the connection as it was for the next request.
func (w *response) disarm() {
	if w.armed && !w.hijacked {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Time{})
	}
}
