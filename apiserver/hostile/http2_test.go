package hostile

import (
	"bytes"
	"crypto/tls"
	"io"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// multiplexed is a connection that speaks HTTP/2 and reads only when told to.
type multiplexed struct {
	*tls.Conn
	*http2.Framer
	next uint32
}

// multiplex opens one. window is how much the client lets the server send: for each request, and without end in all.
func multiplex(t *testing.T, api *apitest.Server, window uint32) *multiplexed {
	t.Helper()
	conn := speaking(t, api, "h2")
	m := &multiplexed{conn, http2.NewFramer(conn, conn), 1}
	m.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteWindowUpdate(0, 1<<30); err != nil {
		t.Fatal(err)
	}
	return m
}

// ask sends the headers of a request, with a length of a body that does not follow if that is not 0.
func (m *multiplexed) ask(t *testing.T, method, path string, length int) uint32 {
	t.Helper()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	fields := []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "x"}, {Name: ":path", Value: path}}
	if length > 0 {
		fields = append(fields, hpack.HeaderField{Name: "content-type", Value: "application/json"}, hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(length)})
	}
	for _, f := range fields {
		if err := enc.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	id := m.next
	m.next += 2
	if err := m.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: length == 0}); err != nil {
		t.Fatal(err)
	}
	return id
}

// Sixty watches of one connection whose client grants every window and reads nothing.
func TestWatchersOfHTTP2ThatDoNotRead(t *testing.T) {
	c := start(t)
	c.unread(t, func() {
		m := multiplex(t, c.api, 1<<30)
		for range 60 {
			m.ask(t, "GET", maps+"?watch=true&resourceVersion=0", 0)
		}
	})
}

// A list whose client grants no window for it ends when its time is up; others on the connection are answered meanwhile.
func TestListsOfHTTP2ThatNobodyReads(t *testing.T) {
	api := impatient(t, 10).api
	m := multiplex(t, api, 1<<10)
	list := m.ask(t, "GET", maps, 0)
	version := m.ask(t, "GET", "/version", 0)
	answered, got := false, 0
	if err := m.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := m.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			if f.StreamID == list {
				got += len(f.Data())
			}
			answered = answered || f.StreamID == version && f.StreamEnded()
		case *http2.GoAwayFrame:
			t.Fatalf("the connection ends: %v", f)
		case *http2.RSTStreamFrame:
			if f.StreamID != list {
				t.Fatalf("%v", f)
			}
			if !answered || got != 1<<10 {
				t.Errorf("%d bytes of the list came; another answer: %t", got, answered)
			}
			return
		}
	}
}

// A body that does not arrive ends with its request.
func TestBodiesOfHTTP2ThatDoNotCome(t *testing.T) {
	m := multiplex(t, impatient(t, 0).api, 1<<20)
	id := m.ask(t, "POST", maps, 1000)
	if err := m.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := m.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.MetaHeadersFrame); ok && f.StreamID == id {
			if status := f.PseudoValue("status"); status[0] != '4' {
				t.Errorf("answered with %s", status)
			}
			return
		}
	}
}
