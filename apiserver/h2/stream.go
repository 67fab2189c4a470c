package h2

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// stream is a request and its answer. All but the first fields is guarded by the connection's lock.
type stream struct {
	conn     *conn
	id       uint32
	request  *http.Request
	cancel   context.CancelFunc
	response response

	// The request's body: what has come and is not read yet, and why no more will come.
	input    []byte
	read     int
	inputErr error
	readable sync.Cond
	// declared is the length that the client has announced, or -1; got what has come of it.
	declared, got int64
	// credit is what the client may send before it is granted more, unreturned what was read and is not granted again yet.
	credit, unreturned int64
	// continues says that the client waits to be told to send the body.
	continues bool
	closed    bool // by the handler
	trailer   http.Header

	// window is what the client grants for the answer.
	window   int64
	writable sync.Cond
	waits    bool // among those that wait for the connection
	// failed says why nothing more is sent.
	failed error

	remoteClosed bool // the client has sent all
	finished     bool // the handler has returned

	readTimer, writeTimer *time.Timer
}

var errFinished = errors.New("h2: the handler has returned")

// run lets the handler answer.
func (s *stream) run() {
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value is no chain
			s.conn.server.Log.Error("panic in a handler", "path", s.request.URL.Path, "panic", p)
		}
		s.finish(p == nil)
	}()
	if s.response.instead != 0 {
		s.response.WriteHeader(s.response.instead)
		return
	}
	s.conn.handler.ServeHTTP(&s.response, s.request)
}

// finish sends what is left of the answer, or ends the stream so that half an answer does not look like a whole one.
func (s *stream) finish(whole bool) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if whole {
		whole = s.response.complete() == nil
	}
	s.finished = true
	for _, t := range []*time.Timer{s.readTimer, s.writeTimer} {
		if t != nil {
			t.Stop()
		}
	}
	if c.streams[s.id] == s {
		switch {
		case !whole:
			c.sayReset(s.id, http2.ErrCodeInternal)
		case !s.remoteClosed:
			c.sayReset(s.id, http2.ErrCodeNo) // nobody will read the rest of the body
		}
		c.forget(s)
	}
	s.cancel()
	c.returned()
	c.writeSoon()
}

// abort ends a stream: who reads or writes gets the error. The lock is held.
func (s *stream) abort(err error) {
	if s.failed == nil {
		s.failed = err
	}
	s.endInput(err)
	s.cancel()
	s.writable.Signal()
}

func (s *stream) endInput(err error) {
	if s.inputErr == nil {
		s.inputErr = err
	}
	s.readable.Signal()
}

// receive takes a piece of the body. The lock is held.
func (s *stream) receive(f *http2.DataFrame) error {
	c, size, data := s.conn, int64(f.Length), f.Data()
	if size > s.credit {
		c.giveBack(size)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	s.credit -= size
	s.got += int64(len(data))
	if s.declared >= 0 && (s.got > s.declared || f.StreamEnded() && s.got != s.declared) {
		c.giveBack(size)
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	if s.closed || s.inputErr != nil {
		s.consumed(size) // nobody will read it
	} else {
		s.consumed(size - int64(len(data))) // padding
		if s.input == nil && s.declared > 0 {
			s.input = make([]byte, 0, min(s.declared, int64(c.server.StreamWindow)))
		}
		s.input = append(s.input, data...)
	}
	if f.StreamEnded() {
		s.remoteClosed = true
		s.endInput(io.EOF)
		return nil
	}
	s.readable.Signal()
	return nil
}

// trailers are what follows a body. The lock is held.
func (s *stream) trailers(f *http2.MetaHeadersFrame) error {
	switch {
	case s.remoteClosed:
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed}
	case !f.StreamEnded(), len(f.PseudoFields()) > 0, s.declared >= 0 && s.got != s.declared:
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	for _, field := range f.RegularFields() {
		name := s.conn.canonical(field.Name)
		if _, announced := s.request.Trailer[name]; announced {
			if s.trailer == nil {
				s.trailer = http.Header{}
			}
			s.trailer[name] = append(s.trailer[name], field.Value)
		}
	}
	s.remoteClosed = true
	s.endInput(io.EOF)
	return nil
}

// consumed grants what needs no room any more again. The lock is held.
func (s *stream) consumed(n int64) {
	if n == 0 {
		return
	}
	c := s.conn
	c.giveBack(n)
	if s.remoteClosed {
		return
	}
	if s.unreturned += n; s.unreturned >= int64(c.server.StreamWindow)/2 && s.failed == nil {
		n, s.unreturned = s.unreturned, 0
		s.credit += n
		c.say(func(f *http2.Framer) error { return f.WriteWindowUpdate(s.id, uint32(n)) })
	}
}

// body is a request's body as its handler reads it.
type body struct{ s *stream }

func (b body) Read(p []byte) (int, error) {
	s := b.s
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, http.ErrBodyReadAfterClose
		case s.read < len(s.input):
			n := copy(p, s.input[s.read:])
			if s.read += n; s.read == len(s.input) {
				s.input, s.read = s.input[:0], 0
			}
			s.consumed(int64(n))
			return n, nil
		case s.inputErr == io.EOF: //nolint:errorlint // it is set so
			for name, values := range s.trailer {
				s.request.Trailer[name] = values
			}
			return 0, io.EOF
		case s.inputErr != nil:
			return 0, s.inputErr
		case len(p) == 0:
			return 0, nil
		case s.continues:
			if err := s.response.informational(http.StatusContinue, nil); err != nil {
				return 0, err
			}
			s.conn.write()
			continue
		}
		s.readable.Wait()
	}
}

func (b body) Close() error {
	s := b.s
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if !s.closed {
		s.closed = true
		if !s.finished {
			s.consumed(int64(len(s.input) - s.read))
		}
		s.input, s.read = nil, 0
		s.readable.Signal()
	}
	return nil
}

// setReadDeadline makes reads of the body fail from a time on; the zero time takes that back while it has not come.
func (s *stream) setReadDeadline(t time.Time) error {
	return s.setDeadline(&s.readTimer, t, func() { s.endInput(os.ErrDeadlineExceeded) })
}

// setWriteDeadline ends the stream at a time, if the answer has not been taken by then.
func (s *stream) setWriteDeadline(t time.Time) error {
	return s.setDeadline(&s.writeTimer, t, func() {
		c := s.conn
		if s.failed != nil {
			return
		}
		s.abort(os.ErrDeadlineExceeded)
		if !c.out.since.IsZero() && time.Since(c.out.since) > lingering {
			// It is not this answer's window that is used up: the client takes nothing at all.
			c.fail(os.ErrDeadlineExceeded)
		}
	})
}

func (s *stream) setDeadline(timer **time.Timer, t time.Time, due func()) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.finished {
		return errFinished
	}
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if t.IsZero() {
		return nil
	}
	wait := time.Until(t)
	if wait <= 0 {
		due()
		return nil
	}
	var mine *time.Timer
	mine = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if *timer == mine && !s.finished {
			due()
		}
	})
	*timer = mine
	return nil
}
