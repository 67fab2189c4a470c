package raw

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// window is the credit that the server gets, for the connection and for each stream: it is renewed when half is used up.
const window = 1 << 30

// Conn is a connection to a server. Its methods may be called by many goroutines at once.
type Conn struct {
	conn net.Conn

	writing  sync.Mutex // guards framer's writing side, out, spare, flushing, block and encoder
	framer   *http2.Framer
	out      bytes.Buffer // what waits to be written
	spare    bytes.Buffer
	flushing bool // somebody writes what is in out
	block    strings.Builder
	encoder  *hpack.Encoder

	mu      sync.Mutex // guards the rest; held together with writing, it is taken second
	next    uint32
	streams map[uint32]*stream
	err     error
	used    int // bytes of the connection's window
}

type stream struct {
	status int
	bytes  int64
	text   []byte // of an answer that says what is wrong
	used   int
	start  func()
	onData func([]byte) bool
	done   chan error
}

// Dial connects to a server by TLS.
func Dial(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), address string, config *tls.Config) (*Conn, error) {
	plain, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.NextProtos = []string{http2.NextProtoTLS}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	// A client that makes a system call of every record and every frame would take the processor from what it measures.
	secure := tls.Client(&buffered{plain, bufio.NewReaderSize(plain, 256<<10)}, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	c := &Conn{conn: secure, next: 1, streams: map[uint32]*stream{}}
	c.encoder = hpack.NewEncoder(&c.block)
	c.framer = http2.NewFramer(&c.out, bufio.NewReaderSize(secure, 32<<10))
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(1 << 20)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.writing.Lock()
	err = c.greet()
	c.writing.Unlock()
	if err != nil {
		secure.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

// buffered is a connection that is read in large pieces.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

func (c *Conn) greet() error {
	if _, err := c.out.WriteString(http2.ClientPreface); err != nil {
		return err
	}
	if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}, http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20},
		http2.Setting{ID: http2.SettingEnablePush, Val: 0}); err != nil {
		return err
	}
	if err := c.framer.WriteWindowUpdate(0, window-65535); err != nil {
		return err
	}
	return c.flush()
}

// flush sends what is in out, unless somebody does: what is added meanwhile goes with the next write. writing is held, and
// released meanwhile.
func (c *Conn) flush() error {
	if c.flushing {
		return nil
	}
	c.flushing = true
	defer func() { c.flushing = false }()
	c.writing.Unlock()
	runtime.Gosched() // others that are about to ask do so in the same write
	c.writing.Lock()
	for c.out.Len() > 0 {
		c.out, c.spare = c.spare, c.out
		c.writing.Unlock()
		_, err := c.spare.WriteTo(c.conn)
		c.writing.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connection and every request on it.
func (c *Conn) Close() { _ = c.conn.Close() }

// Request is what to ask.
type Request struct {
	Method, Path, ContentType, Accept string
	Body                              []byte
	// Started, if not nil, is called once, when the answer begins with a status that says yes.
	Started func()
}

// Error is an answer with a status other than 2xx.
type Error struct {
	Request Request
	Status  int
	Text    string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s %s: %d: %s", e.Request.Method, e.Request.Path, e.Status, e.Text)
}

// Do makes a request and returns the number of bytes of the answer's body. onData, if there is one, gets the body piece by
// piece, to keep only while it is called, and ends the request by returning false.
func (c *Conn) Do(ctx context.Context, r Request, onData func([]byte) bool) (int64, error) {
	s := &stream{start: r.Started, onData: onData, done: make(chan error, 1)}
	id, err := c.send(r, s)
	if err != nil {
		return 0, err
	}
	select {
	case err = <-s.done:
	case <-ctx.Done():
		c.cancel(id)
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, err
	}
	if s.status < 200 || s.status > 299 {
		return 0, &Error{r, s.status, string(s.text)}
	}
	return s.bytes, nil
}

func (c *Conn) send(r Request, s *stream) (uint32, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return 0, c.err
	}
	id := c.next
	c.next += 2
	c.streams[id] = s
	c.mu.Unlock()
	c.block.Reset()
	fields := []hpack.HeaderField{{Name: ":method", Value: r.Method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "api"},
		{Name: ":path", Value: r.Path}, {Name: "accept", Value: r.Accept}, {Name: "user-agent", Value: "bench"}}
	if r.ContentType != "" {
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: r.ContentType}, hpack.HeaderField{Name: "content-length", Value: fmt.Sprint(len(r.Body))})
	}
	for _, f := range fields {
		// A path of its own for each request would only push out what repeats.
		f.Sensitive = f.Name == ":path"
		if err := c.encoder.WriteField(f); err != nil {
			return 0, err
		}
	}
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(c.block.String()), EndHeaders: true, EndStream: len(r.Body) == 0}); err != nil {
		return 0, err
	}
	// The servers' first window of 64 kB is enough for what is under way on a connection: bodies are of a few kB.
	if len(r.Body) > 0 {
		if err := c.framer.WriteData(id, true, r.Body); err != nil {
			return 0, err
		}
	}
	return id, c.flush()
}

func (c *Conn) cancel(id uint32) {
	c.mu.Lock()
	_, known := c.streams[id]
	delete(c.streams, id)
	c.mu.Unlock()
	if known {
		c.write(func() error { return c.framer.WriteRSTStream(id, http2.ErrCodeCancel) })
	}
}

// write writes what answers the server; an error shows when reading fails.
func (c *Conn) write(f func() error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if f() == nil {
		_ = c.flush()
	}
}

func (c *Conn) read() {
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			c.fail(err)
			return
		}
		switch f := frame.(type) {
		case *http2.DataFrame:
			c.data(f)
		case *http2.MetaHeadersFrame:
			c.headers(f)
		case *http2.RSTStreamFrame:
			c.end(f.StreamID, fmt.Errorf("stream reset: %s", f.ErrCode))
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.write(c.framer.WriteSettingsAck)
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				data := f.Data
				c.write(func() error { return c.framer.WritePing(true, data) })
			}
		case *http2.GoAwayFrame:
			c.fail(fmt.Errorf("server goes away: %s", f.ErrCode))
			return
		}
	}
}

func (c *Conn) headers(f *http2.MetaHeadersFrame) {
	c.mu.Lock()
	s := c.streams[f.StreamID]
	c.mu.Unlock()
	if s == nil {
		return
	}
	if s.status == 0 {
		if _, err := fmt.Sscan(f.PseudoValue("status"), &s.status); err != nil {
			c.end(f.StreamID, err)
			return
		}
		if s.start != nil && s.status < 300 {
			s.start()
		}
	}
	if f.StreamEnded() {
		c.end(f.StreamID, nil)
	}
}

func (c *Conn) data(f *http2.DataFrame) {
	n := int(f.Length)
	c.mu.Lock()
	s := c.streams[f.StreamID]
	c.used += n
	refill := 0
	if c.used > window/2 {
		refill, c.used = c.used, 0
	}
	c.mu.Unlock()
	if refill > 0 {
		c.write(func() error { return c.framer.WriteWindowUpdate(0, uint32(refill)) })
	}
	if s == nil {
		return
	}
	s.bytes += int64(len(f.Data()))
	if s.used += n; s.used > window/2 {
		refill, s.used = s.used, 0
		c.write(func() error { return c.framer.WriteWindowUpdate(f.StreamID, uint32(refill)) })
	}
	if s.status > 299 && len(s.text) < 4096 {
		s.text = append(s.text, f.Data()...)
	}
	switch {
	case f.StreamEnded():
		if s.onData != nil {
			s.onData(f.Data())
		}
		c.end(f.StreamID, nil)
	case s.onData != nil && s.status < 300 && !s.onData(f.Data()):
		c.cancel(f.StreamID)
		s.done <- nil
	}
}

func (c *Conn) end(id uint32, err error) {
	c.mu.Lock()
	s := c.streams[id]
	delete(c.streams, id)
	c.mu.Unlock()
	if s != nil {
		s.done <- err
	}
}

func (c *Conn) fail(err error) {
	_ = c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = errors.Join(errors.New("connection lost"), err)
	for id, s := range c.streams {
		delete(c.streams, id)
		s.done <- c.err
	}
}
