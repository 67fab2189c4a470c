package h2

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	prefaceTimeout = 10 * time.Second
	// lingering is how long a connection that the server ends is still read, so that the goodbye is not lost by a reset.
	lingering = time.Second
	// tableSize is that of header compression, both ways, cached how many names of headers a connection remembers.
	tableSize = 4096
	cached    = 64
)

// conn is a connection. One goroutine reads (serve).
type conn struct {
	server    *Server
	tls       *tls.Conn
	raw       net.Conn
	gathering *gathering // raw, if it is one
	handler   http.Handler
	base      context.Context
	peer      string
	state     *tls.ConnectionState

	// The goroutine that reads has these to itself.
	framer  *http2.Framer
	ready   []*stream // have come in, and wait for what came with them
	names   map[string]string
	greeted bool
	flooded bool // more requests than the server is willing to keep

	heard atomic.Int64 // when the client was last heard, in nanoseconds

	mu      sync.Mutex // guards the rest, and all streams
	streams map[uint32]*stream
	last    uint32 // the highest stream that the client has opened
	running int    // handlers that have not returned, those of streams that were reset included
	queued  []*stream
	// credit is what the client may still send of all bodies, unreturned what was read and is not granted again yet.
	credit, unreturned int64
	out                output

	idle     time.Time // since when there has been no stream
	pinged   time.Time // when a sign of life was asked for
	draining drainState
	farewell bool // saidAll is to be closed once all is written
	saidAll  chan struct{}
	tending  *time.Timer
}

type drainState int

const (
	serving drainState = iota
	// asked: the client was told that the connection ends, and may have requests on their way.
	asked
	// told: the client knows which requests are not served.
	told
)

func newConn(s *Server, tc *tls.Conn, h http.Handler, base context.Context) *conn {
	state := tc.ConnectionState()
	c := &conn{
		server: s, tls: tc, raw: tc.NetConn(), handler: h, base: base, peer: tc.RemoteAddr().String(), state: &state,
		names: map[string]string{}, streams: map[uint32]*stream{}, credit: firstWindow, idle: time.Now(), saidAll: make(chan struct{}),
		out: output{window: firstWindow, streamWindow: firstWindow, frameSize: frameSize},
	}
	c.heard.Store(time.Now().UnixNano())
	c.out.framer = http2.NewFramer(pendingWriter{&c.out}, nil)
	c.out.encoder = hpack.NewEncoder(&c.out.block)
	in := bufio.NewReaderSize(tc, 4<<10)
	c.framer = http2.NewFramer(nil, in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(frameSize)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
	c.framer.MaxHeaderListSize = s.MaxHeaderBytes
	if g, ok := c.raw.(*gathering); ok {
		c.gathering = g
		g.beforeRead = c.startReady
		g.afterRead = func() { c.heard.Store(time.Now().UnixNano()) }
	}
	return c
}

// serve reads frames until the connection ends, and returns when no handler has it any more.
func (c *conn) serve() {
	defer c.end()
	if err := c.greet(); err != nil {
		return
	}
	for {
		f, err := c.framer.ReadFrame()
		if err == nil {
			err = c.frame(f)
		}
		if err == nil {
			if c.gathering == nil {
				c.heard.Store(time.Now().UnixNano())
				c.startReady()
			}
			continue
		}
		var ofStream http2.StreamError
		if errors.As(err, &ofStream) {
			c.refuse(ofStream)
			continue
		}
		c.startReady()
		var ofConn http2.ConnectionError
		switch {
		case errors.As(err, &ofConn):
			c.leave(http2.ErrCode(ofConn))
		case errors.Is(err, http2.ErrFrameTooLarge):
			c.leave(http2.ErrCodeFrameSize)
		case c.nothingLeft():
			c.leave(http2.ErrCodeNo)
		}
		return
	}
}

func (c *conn) greet() error {
	c.mu.Lock()
	c.say(func(f *http2.Framer) error {
		return errors.Join(f.WriteSettings(
			http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: c.server.MaxStreams},
			http2.Setting{ID: http2.SettingInitialWindowSize, Val: c.server.StreamWindow},
			http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: c.server.MaxHeaderBytes},
		), c.grantConn(f, int64(c.server.ConnWindow)-firstWindow))
	})
	c.tending = time.AfterFunc(c.server.tendEvery(), c.tend)
	c.mu.Unlock()
	preface := make([]byte, len(http2.ClientPreface))
	_ = c.raw.SetReadDeadline(time.Now().Add(prefaceTimeout)) // fails as the read will
	if _, err := io.ReadFull(c.tls, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errors.New("h2: no preface")
	}
	return c.raw.SetReadDeadline(time.Time{})
}

func (c *conn) grantConn(f *http2.Framer, n int64) error {
	if n <= 0 {
		return nil
	}
	c.credit += n
	return f.WriteWindowUpdate(0, uint32(n))
}

// frame acts on a frame. Errors are of a stream (http2.StreamError) or of the connection.
func (c *conn) frame(f http2.Frame) error {
	if c.flooded {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	if !c.greeted {
		if _, ok := f.(*http2.SettingsFrame); !ok {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		c.greeted = true
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.DataFrame:
		return c.data(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.RSTStreamFrame:
		return c.reset(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case *http2.GoAwayFrame:
		c.drain()
	}
	return nil
}

// opened says whether the client has ever used a stream. The lock is held.
func (c *conn) opened(id uint32) bool { return id%2 == 1 && id <= c.last }

func (c *conn) headers(f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[f.StreamID]; s != nil {
		return s.trailers(f)
	}
	switch {
	case f.StreamID%2 == 0:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case f.StreamID <= c.last && f.PseudoValue("method") == "":
		// Trailers of a request that is answered already.
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	case f.StreamID <= c.last:
		return http2.ConnectionError(http2.ErrCodeStreamClosed)
	case c.draining == told:
		return nil // the client knows, and sends it elsewhere
	}
	c.last = f.StreamID
	if f.HasPriority() && f.Priority.StreamDep == f.StreamID {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	}
	if uint32(len(c.streams)) >= c.server.MaxStreams {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeRefusedStream}
	}
	s, err := c.newStream(f)
	if err != nil {
		return err
	}
	c.streams[s.id] = s
	c.ready = append(c.ready, s)
	return nil
}

// startReady starts the requests that have come in, before the next read from the network: their bodies are often there by
// then, and no handler has to be woken for each piece.
func (c *conn) startReady() {
	if len(c.ready) == 0 {
		return
	}
	c.mu.Lock()
	for i, s := range c.ready {
		c.ready[i] = nil
		if s.failed != nil {
			continue // it came with its own cancellation
		}
		// A client may cancel requests as fast as it makes them. Their handlers count until they have returned.
		if c.running < int(c.server.MaxStreams) {
			c.running++
			c.server.workers.run(s)
			continue
		}
		if len(c.queued) >= 4*int(c.server.MaxStreams) {
			c.flooded = true
			s.abort(errGone)
			continue
		}
		c.queued = append(c.queued, s)
	}
	c.ready = c.ready[:0]
	c.mu.Unlock()
}

// returned is called when a handler has. The lock is held.
func (c *conn) returned() {
	for len(c.queued) > 0 {
		s := c.queued[0]
		c.queued[0] = nil
		if c.queued = c.queued[1:]; s.failed != nil {
			c.forget(s) // nobody waits for it any more
			continue
		}
		c.server.workers.run(s)
		return
	}
	c.running--
}

func (c *conn) data(f *http2.DataFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int64(f.Length)
	if size > c.credit {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	c.credit -= size
	s := c.streams[f.StreamID]
	if s == nil || s.remoteClosed || s.failed != nil {
		c.giveBack(size)
		switch {
		case !c.opened(f.StreamID) && c.draining != told:
			return http2.ConnectionError(http2.ErrCodeProtocol)
		case s != nil && !s.remoteClosed, c.draining == told && f.StreamID > c.last:
			return nil // it was reset a moment ago, or never served
		}
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	return s.receive(f)
}

// giveBack renews the connection's window by what needs no room any more. The lock is held.
func (c *conn) giveBack(n int64) {
	if c.unreturned += n; c.unreturned >= int64(c.server.ConnWindow)/2 {
		n, c.unreturned = c.unreturned, 0
		c.say(func(f *http2.Framer) error { return c.grantConn(f, n) })
	}
}

func (c *conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if !grant(&c.out.window, int64(f.Increment)) {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.wakeWaiting()
		return nil
	}
	s := c.streams[f.StreamID]
	if s == nil {
		if !c.opened(f.StreamID) && c.draining != told {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		return nil
	}
	if !grant(&s.window, int64(f.Increment)) {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	s.writable.Signal()
	return nil
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.setting); err != nil {
		return err
	}
	c.say((*http2.Framer).WriteSettingsAck)
	return nil
}

func (c *conn) setting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.out.encoder.SetMaxDynamicTableSizeLimit(min(s.Val, tableSize))
	case http2.SettingMaxFrameSize:
		c.out.frameSize = int(s.Val)
	case http2.SettingInitialWindowSize:
		change := int64(s.Val) - c.out.streamWindow
		c.out.streamWindow = int64(s.Val)
		for _, s := range c.streams {
			if !grant(&s.window, change) {
				return http2.ConnectionError(http2.ErrCodeFlowControl)
			}
			s.writable.Signal()
		}
	}
	return nil
}

// What the server's own pings say: whether the client lives, and that it has seen the announcement of the end.
var (
	alivePing = [8]byte{'a', 'l', 'i', 'v', 'e'}
	drainPing = [8]byte{'d', 'r', 'a', 'i', 'n'}
)

func (c *conn) ping(f *http2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !f.IsAck():
		data := f.Data
		c.say(func(f *http2.Framer) error { return f.WritePing(true, data) })
	case f.Data == drainPing:
		c.sayLast()
	}
	return nil
}

func (c *conn) reset(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[f.StreamID]
	if s == nil {
		if !c.opened(f.StreamID) && c.draining != told {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		return nil
	}
	s.remoteClosed = true
	s.abort(http2.StreamError{StreamID: s.id, Code: f.ErrCode})
	c.forget(s)
	return nil
}

// refuse resets a stream for what the client did on it.
func (c *conn) refuse(e http2.StreamError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.StreamID%2 == 1 {
		c.last = max(c.last, e.StreamID)
	}
	if s := c.streams[e.StreamID]; s != nil {
		s.abort(e)
		c.forget(s)
	}
	c.sayReset(e.StreamID, e.Code)
}

// sayReset resets a stream. The lock is held.
func (c *conn) sayReset(id uint32, code http2.ErrCode) {
	c.say(func(f *http2.Framer) error { return f.WriteRSTStream(id, code) })
}

// forget takes a stream off the list: both sides have ended it. The lock is held.
func (c *conn) forget(s *stream) {
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	c.giveBack(int64(len(s.input) - s.read))
	s.input, s.read = nil, 0
	if len(c.streams) == 0 {
		c.idle = time.Now()
		c.endIfDrained()
	}
}

// drain asks the client to send no more requests, and ends the connection when those that it has sent are answered.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drainLocked()
}

func (c *conn) drainLocked() {
	if c.draining != serving {
		return
	}
	c.draining = asked
	c.say(func(f *http2.Framer) error {
		return errors.Join(f.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil), f.WritePing(false, drainPing))
	})
	time.AfterFunc(lingering, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sayLast()
	})
}

// sayLast tells a client that was asked to go which request was the last. The lock is held.
func (c *conn) sayLast() {
	if c.draining != asked {
		return
	}
	c.draining = told
	c.say(func(f *http2.Framer) error { return f.WriteGoAway(c.last, http2.ErrCodeNo, nil) })
	c.endIfDrained()
}

// endIfDrained lets the goroutine that reads find out that a connection has nothing left to do. The lock is held.
func (c *conn) endIfDrained() {
	if c.draining == told && len(c.streams) == 0 {
		_ = c.raw.SetReadDeadline(time.Now()) // a connection that has no deadlines ends when its client says so
	}
}

// nothingLeft says whether that was so.
func (c *conn) nothingLeft() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining == told && len(c.streams) == 0
}

// leave says goodbye, with a reason if it is the client's fault, and goes on reading for a moment.
func (c *conn) leave(code http2.ErrCode) {
	c.mu.Lock()
	if code != http2.ErrCodeNo {
		for _, s := range c.streams {
			s.abort(errGone)
		}
		c.say(func(f *http2.Framer) error { return f.WriteGoAway(c.last, code, nil) })
		c.draining = told
	}
	c.farewell = true
	if !c.out.writing {
		c.out.writing = true
		go c.writeRest()
	}
	c.mu.Unlock()
	_ = c.raw.SetReadDeadline(time.Now().Add(lingering)) // fails as the read will
	select {
	case <-c.saidAll:
		_ = c.tls.CloseWrite() // a client that is gone needs none
		if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	case <-time.After(lingering):
		return
	}
	_, _ = io.Copy(io.Discard, c.tls) // ends with the deadline
}

// fail ends the connection: nothing more can be written or read. The lock is held.
func (c *conn) fail(err error) {
	if c.out.lost != nil {
		return
	}
	c.out.lost = err
	for _, s := range c.streams {
		s.abort(errGone)
	}
	c.wakeWaiting()
	_ = c.raw.Close() // it is given up
}

// end is the end of the goroutine that reads.
func (c *conn) end() {
	c.mu.Lock()
	c.fail(errGone)
	if c.tending != nil {
		c.tending.Stop()
	}
	for _, s := range c.queued {
		s.cancel()
	}
	c.queued = nil
	c.mu.Unlock()
	_ = c.tls.Close() // the connection below is closed already
}

// tend looks after the connection now and then: it ends one that nobody uses, and finds out about clients that are gone.
func (c *conn) tend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.lost != nil {
		return
	}
	now := time.Now()
	heard := time.Unix(0, c.heard.Load())
	switch {
	case len(c.streams) == 0 && now.Sub(c.idle) >= c.server.IdleTimeout:
		c.drainLocked()
	case now.Sub(heard) < c.server.PingAfter:
		c.pinged = time.Time{}
	case c.pinged.IsZero():
		c.pinged = now
		c.say(func(f *http2.Framer) error { return f.WritePing(false, alivePing) })
	case now.Sub(c.pinged) >= c.server.PingTimeout:
		c.fail(errors.New("h2: the client gives no sign of life"))
		return
	}
	c.tending.Reset(c.server.tendEvery())
}
