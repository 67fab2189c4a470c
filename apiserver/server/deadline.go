package server

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// patience is what a client gets beyond a request's own time to take its answer. A client that does not would otherwise hold
// the answer's memory for as long as its connection lives.
const patience = 5 * time.Second

// bodyDeadline makes reads of a request's body fail when the request's time is up, until over is called. Bodies of
// long-running requests are streams, and have no end. Setting a deadline in advance would cost every write a message to its
// connection's goroutine.
func bodyDeadline(ctx context.Context, w http.ResponseWriter, r *http.Request) (over func()) {
	if r.Body == nil || r.Body == http.NoBody {
		return func() {}
	}
	// The function below runs on a goroutine of its own. It must not touch w once the handler has returned: a writer of
	// HTTP/2 is nobody's then, and using it ends the process.
	var mu sync.Mutex
	returned := false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !returned {
			// Connections that cannot have deadlines are those of tests.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		}
	})
	return func() {
		if !stop() {
			mu.Lock()
			returned = true
			mu.Unlock()
		}
	}
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
