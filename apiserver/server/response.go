package server

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// response notes what an answer was, and tells when it begins.
type response struct {
	http.ResponseWriter
	code     int
	bytes    int64
	hijacked bool
	// begun, if set, is called once, before the first byte of the answer is written.
	begun func()
	// tee, if set, is given what is written.
	tee func([]byte)
	// deadline is when a large answer must have been taken; armed says that the connection knows.
	deadline time.Time
	armed    bool
}

func (w *response) start(code int) {
	if w.code != 0 {
		return
	}
	w.code = code
	if w.begun != nil {
		w.begun()
	}
}

func (w *response) WriteHeader(code int) {
	// 1xx answers precede the real one, except for the switch to another protocol.
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.start(code)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	w.start(http.StatusOK)
	if w.tee != nil {
		w.tee(b)
	}
	w.limit(len(b))
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Flush makes watches possible.
func (w *response) Flush() {
	w.start(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack makes exec over SPDY and WebSocket possible.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked = true
		w.start(http.StatusSwitchingProtocols)
	}
	return conn, rw, err
}

// Unwrap lets http.ResponseController find deadlines and full duplex.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
