// Package linger closes connections that were taken over from an HTTP server without losing what was written to them.
//
// A TCP connection that is closed while bytes of the peer lie unread is reset, and a reset throws away what the peer has not been
// sent yet. A command that ends while its client still sends input would lose the end of its output that way, and its exit status.
// So the writing half is closed first; what the peer still sends is read and dropped until it closes its half as well.
package linger

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// patience is how long a peer may take to close its half.
const patience = time.Minute

// Writer returns w whose connection, once taken over by Hijack, closes in that way. Close of such a connection does not wait.
func Writer(w http.ResponseWriter) http.ResponseWriter { return &writer{w} }

type writer struct{ http.ResponseWriter }

// Unwrap lets http.ResponseController find what else w can do.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack implements http.Hijacker.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	taken, buffer, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := &conn{Conn: taken}
	var read io.Reader = c
	if n := buffer.Reader.Buffered(); n > 0 {
		early, err := buffer.Reader.Peek(n)
		if err != nil {
			taken.Close()
			return nil, nil, err
		}
		read = io.MultiReader(bytes.NewReader(bytes.Clone(early)), c)
	}
	return c, bufio.NewReadWriter(bufio.NewReader(read), bufio.NewWriter(c)), nil
}

type conn struct {
	net.Conn
	closed atomic.Bool
}

// Read implements net.Conn. After Close there is nothing more to be read.
func (c *conn) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return c.Conn.Close()
	}
	go func() {
		defer c.Conn.Close()
		if c.Conn.SetDeadline(time.Now().Add(patience)) == nil {
			_, _ = io.Copy(io.Discard, c.Conn)
		}
	}()
	return nil
}
