package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// firstWindow is every window's size until somebody says otherwise, frameSize the largest frame.
	firstWindow = 65535
	frameSize   = 16 << 10
	// mostPending is how much of what is said on a connection may wait for the network. Answers wait then; a client that makes
	// the server say things without end (acknowledgements, resets) and reads nothing is left.
	mostPending  = 256 << 10
	mostControls = mostPending + 256<<10
	frameHeader  = 9
)

var (
	errGone  = errors.New("h2: the connection is gone")
	errFlood = errors.New("h2: the client takes nothing and asks for more")
)

// output is the writing side of a connection. All is guarded by the connection's lock.
type output struct {
	// pending are frames in their order; somebody takes them to the network if writing.
	pending []byte
	writing bool
	// since is when the write that is under way began, and until when the socket's deadline lies.
	since, until time.Time
	// lost says why nothing can be written any more.
	lost error

	framer  *http2.Framer // writes to pending
	encoder *hpack.Encoder
	block   bytes.Buffer // of headers being encoded

	// What the client grants: for the connection, for a new stream, and in one frame.
	window       int64
	streamWindow int64
	frameSize    int
	// waiting are the streams that wait for the connection: for its window, or for pending to get smaller.
	waiting []*stream
}

// pendingWriter is where the framer writes.
type pendingWriter struct{ out *output }

func (w pendingWriter) Write(b []byte) (int, error) {
	w.out.room(len(b))
	w.out.pending = append(w.out.pending, b...)
	return len(b), nil
}

var pendingBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// room makes sure that there is a buffer.
func (o *output) room(int) {
	if o.pending == nil {
		o.pending = (*pendingBuffers.Get().(*[]byte))[:0]
	}
}

func recycle(b []byte) {
	if cap(b) <= 2*mostPending {
		pendingBuffers.Put(&b)
	}
}

// say puts a frame that answers the client's into pending and lets it be written, without waiting for that: the goroutine that
// reads must go on reading. The lock is held.
func (c *conn) say(f func(*http2.Framer) error) {
	if c.out.lost != nil {
		return
	}
	if len(c.out.pending) > mostControls {
		c.fail(errFlood)
		return
	}
	if err := f(c.out.framer); err != nil {
		c.fail(err)
		return
	}
	if !c.out.writing {
		c.out.writing = true
		go c.writeRest()
	}
}

// write takes what is pending to the network if nobody does so already. What is added meanwhile is left to somebody else: who
// calls this has a request to answer, not those of others. The lock is held, and released meanwhile.
func (c *conn) write() {
	if c.out.writing || c.out.lost != nil || len(c.out.pending) == 0 {
		return
	}
	c.out.writing = true
	c.writeOnce()
	if len(c.out.pending) > 0 && c.out.lost == nil {
		go c.writeRest()
		return
	}
	c.out.writing = false
	c.written()
}

// writeSoon is write for a handler that has answered. Where there are others it lets what is runnable run first: requests that
// waited for the same thing are answered by one write. On an idle machine nothing is runnable, and this takes no time.
func (c *conn) writeSoon() {
	if c.running > 0 && !c.out.writing {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.write()
}

// writeRest writes until nothing is pending.
func (c *conn) writeRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out.pending) > 0 && c.out.lost == nil {
		c.writeOnce()
	}
	c.out.writing = false
	c.written()
}

func (c *conn) writeOnce() {
	batch := c.out.pending
	c.out.pending = nil
	c.wakeWaiting()
	now := time.Now()
	c.out.since = now
	deadline := c.out.until.Sub(now) < c.server.StallTimeout*3/4
	if deadline {
		c.out.until = now.Add(c.server.StallTimeout)
	}
	c.mu.Unlock()
	if deadline {
		_ = c.raw.SetWriteDeadline(now.Add(c.server.StallTimeout)) // fails as the write will
	}
	err := c.transmit(batch)
	recycle(batch)
	c.mu.Lock()
	c.out.since = time.Time{}
	if err != nil {
		c.fail(err)
	}
}

// transmit encrypts and sends.
func (c *conn) transmit(b []byte) error {
	if c.gathering == nil || len(b) < frameSize {
		_, err := c.tls.Write(b)
		return err
	}
	c.gathering.hold()
	_, err := c.tls.Write(b)
	if released := c.gathering.release(); err == nil {
		err = released
	}
	return err
}

// written is called when nobody writes any more: all is said, or cannot be.
func (c *conn) written() {
	if c.farewell {
		c.farewell = false
		close(c.saidAll)
	}
}

// wakeWaiting lets streams that wait for the connection look again.
func (c *conn) wakeWaiting() {
	for i, s := range c.out.waiting {
		s.waits = false
		s.writable.Signal()
		c.out.waiting[i] = nil
	}
	c.out.waiting = c.out.waiting[:0]
}

// wait waits until something may have changed for a stream that wants to write. The lock is held, and released meanwhile.
func (s *stream) wait(forConn bool) {
	if forConn && !s.waits {
		s.waits = true
		s.conn.out.waiting = append(s.conn.out.waiting, s)
	}
	s.writable.Wait()
}

// sendData puts a piece of an answer into pending, waits for what it needs, and writes when there is much. The lock is held,
// and released meanwhile.
func (s *stream) sendData(b []byte, end bool) error {
	c := s.conn
	for {
		if s.failed != nil {
			return s.failed
		}
		if len(c.out.pending) >= mostPending {
			if c.write(); len(c.out.pending) >= mostPending && s.failed == nil {
				s.wait(true)
			}
			continue
		}
		n := min(len(b), c.out.frameSize, frameSize)
		if n > 0 {
			if n = min(n, int(s.window), int(c.out.window)); n <= 0 {
				// What is pending may be what the client waits for.
				if c.out.writing || len(c.out.pending) == 0 {
					s.wait(s.window > 0)
				} else {
					c.write()
				}
				continue
			}
		}
		s.window -= int64(n)
		c.out.window -= int64(n)
		last := n == len(b)
		c.out.data(s.id, b[:n], end && last)
		if b = b[n:]; last {
			return nil
		}
	}
}

// data appends a DATA frame; the framer would copy the payload once more.
func (o *output) data(id uint32, b []byte, end bool) {
	o.room(frameHeader + len(b))
	var flags byte
	if end {
		flags = byte(http2.FlagDataEndStream)
	}
	n := len(b)
	o.pending = append(o.pending, byte(n>>16), byte(n>>8), byte(n), byte(http2.FrameData), flags)
	o.pending = binary.BigEndian.AppendUint32(o.pending, id)
	o.pending = append(o.pending, b...)
}

// headers appends what is encoded in block.
func (o *output) headers(id uint32, end bool) error {
	rest, first := o.block.Bytes(), true
	for first || len(rest) > 0 {
		n := min(len(rest), o.frameSize, frameSize)
		var err error
		if first {
			err = o.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: rest[:n], EndStream: end, EndHeaders: n == len(rest)})
		} else {
			err = o.framer.WriteContinuation(id, n == len(rest), rest[:n])
		}
		if err != nil {
			return err
		}
		rest, first = rest[n:], false
	}
	return nil
}

// grant adds to a window that the client enlarges; false says that it gets too large.
func grant(window *int64, n int64) bool {
	*window += n
	return *window <= math.MaxInt32
}
