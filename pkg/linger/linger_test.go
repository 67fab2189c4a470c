package linger

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The peer sends without end and reads late; still it gets all that was written before the connection was closed.
func TestNothingWrittenIsLost(t *testing.T) {
	const size = 8 << 20
	closed := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, buffer, err := Writer(w).(http.Hijacker).Hijack()
		if err != nil {
			closed <- err
			return
		}
		early := make([]byte, 5)
		if _, err := io.ReadFull(buffer, early); err != nil || string(early) != "early" {
			t.Errorf("what came with the request: %q, %v", early, err)
		}
		_, err = io.CopyN(c, strings.NewReader(strings.Repeat("x", size)), size)
		c.Close()
		if n, again := c.Read(make([]byte, 1)); n != 0 || again != io.EOF {
			t.Errorf("read after Close: %d, %v", n, again)
		}
		closed <- err
	}))
	defer s.Close()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\nearly"); err != nil {
		t.Fatal(err)
	}
	go func() { // until the connection ends
		junk := make([]byte, 64<<10)
		for {
			if _, err := c.Write(junk); err != nil {
				return
			}
		}
	}()
	// The first half makes room in the socket, so that the other side can write the rest and close.
	if n, err := io.CopyN(io.Discard, c, size/2); err != nil {
		t.Fatal(n, err)
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := io.Copy(io.Discard, c)
	if n != size/2 || err != nil {
		t.Errorf("%d bytes of %d, %v", n, size/2, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
