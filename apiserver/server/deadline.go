package server

import (
	"net/http"
	"time"
)

// patience is what a client gets beyond a request's own time to send its body and to take its answer. A client that does
// neither would otherwise hold a request, and the answer's memory, for as long as its connection lives.
const patience = 5 * time.Second

// bodyDeadline makes reads of a request's body fail some time after the request's own end. Bodies of long-running requests
// are streams, and have none.
func bodyDeadline(w http.ResponseWriter, r *http.Request, deadline time.Time) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	// Connections that cannot have deadlines are those of tests.
	_ = http.NewResponseController(w).SetReadDeadline(deadline.Add(patience))
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
