package h2

import (
	"net"
	"sync"
)

// Listener makes connections whose writes a Server can gather below TLS. Whatever else is done with them, they are as before.
func Listener(l net.Listener) net.Listener { return gatheringListener{l} }

type gatheringListener struct{ net.Listener }

func (l gatheringListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gathering{Conn: c}, nil
}

// gathering is a connection that holds writes back while it is told to, since TLS makes one of every record. It also tells when
// it is about to wait for the network.
type gathering struct {
	net.Conn
	// beforeRead and afterRead are set before the first use by HTTP/2, and never for HTTP/1.1.
	beforeRead, afterRead func()
	// mu guards held: TLS may have something to say of its own while somebody writes.
	mu   sync.Mutex
	held *[]byte
}

// gatherAt is how many bytes are held back: some more are taken by a socket at once.
const gatherAt = 128 << 10

var gathered = sync.Pool{New: func() any { b := make([]byte, 0, 32<<10); return &b }}

// hold begins to hold writes back, until release.
func (g *gathering) hold() {
	g.mu.Lock()
	g.held = gathered.Get().(*[]byte)
	g.mu.Unlock()
}

// release sends what was held back.
func (g *gathering) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := g.held
	g.held = nil
	var err error
	if len(*held) > 0 {
		_, err = g.Conn.Write(*held)
	}
	if *held = (*held)[:0]; cap(*held) <= 2*gatherAt {
		gathered.Put(held)
	}
	return err
}

func (g *gathering) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return g.Conn.Write(b)
	}
	*g.held = append(*g.held, b...)
	if len(*g.held) >= gatherAt {
		_, err := g.Conn.Write(*g.held)
		*g.held = (*g.held)[:0]
		if err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (g *gathering) Read(b []byte) (int, error) {
	if g.beforeRead == nil {
		return g.Conn.Read(b)
	}
	g.beforeRead()
	n, err := g.Conn.Read(b)
	g.afterRead()
	return n, err
}

// CloseWrite is what tests and TLS expect of a TCP connection.
func (g *gathering) CloseWrite() error {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
