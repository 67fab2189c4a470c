package h2

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
)

// newStream makes a stream and its request from a request's headers. What RFC 9113, section 8, calls malformed is an error of
// the stream. The lock is held.
func (c *conn) newStream(f *http2.MetaHeadersFrame) (*stream, error) {
	ctx, cancel := context.WithCancel(c.base)
	r := (&http.Request{Proto: "HTTP/2.0", ProtoMajor: 2, RemoteAddr: c.peer, TLS: c.state}).WithContext(ctx)
	s := &stream{conn: c, id: f.StreamID, request: r, cancel: cancel, window: c.out.streamWindow, credit: int64(c.server.StreamWindow), declared: -1}
	s.readable.L, s.writable.L = &c.mu, &c.mu
	s.response.s = s
	if !s.understand(f) {
		cancel()
		return nil, http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	}
	s.response.head = r.Method == http.MethodHead
	if f.Truncated {
		s.response.instead = http.StatusRequestHeaderFieldsTooLarge
	}
	return s, nil
}

// understand fills the request, and says whether it is well-formed.
func (s *stream) understand(f *http2.MetaHeadersFrame) bool {
	r := s.request
	var scheme string
	for _, field := range f.PseudoFields() {
		switch field.Name {
		case ":method":
			r.Method = field.Value
		case ":path":
			r.RequestURI = field.Value
		case ":scheme":
			scheme = field.Value
		case ":authority":
			r.Host = field.Value
		}
	}
	if !s.conn.fill(r, f) {
		return false
	}
	if r.Host == "" {
		r.Host = r.Header.Get("Host")
	}
	delete(r.Header, "Host")
	switch {
	case r.Method == http.MethodConnect:
		if r.RequestURI != "" || scheme != "" || r.Host == "" {
			return false
		}
		r.URL = &url.URL{Host: r.Host}
		r.RequestURI = r.Host
	case r.Method == "" || r.RequestURI == "" || scheme != "https" && scheme != "http":
		return false
	default:
		var err error
		if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
			return false
		}
	}
	return s.expect(f)
}

// fill sets a request's headers, and says whether they are such as HTTP/2 knows.
func (c *conn) fill(r *http.Request, f *http2.MetaHeadersFrame) bool {
	fields := f.RegularFields()
	r.Header = make(http.Header, len(fields))
	values := make([]string, len(fields)) // one piece of memory for the values of all
	for i, field := range fields {
		name := c.canonical(field.Name)
		switch name {
		case "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade":
			return false
		case "Te":
			if field.Value != "trailers" {
				return false
			}
		}
		if have := r.Header[name]; have != nil {
			if name == "Cookie" {
				have[0] += "; " + field.Value
			} else {
				r.Header[name] = append(have, field.Value)
			}
			continue
		}
		values[i] = field.Value
		r.Header[name] = values[i : i+1 : i+1]
	}
	for _, announced := range r.Header["Trailer"] {
		for name := range strings.SplitSeq(announced, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if httpguts.ValidTrailerHeader(name) {
				if r.Trailer == nil {
					r.Trailer = http.Header{}
				}
				r.Trailer[name] = nil
			}
		}
	}
	delete(r.Header, "Trailer")
	return true
}

// expect finds out what body follows, and says whether that is clear.
func (s *stream) expect(f *http2.MetaHeadersFrame) bool {
	r := s.request
	if lengths := r.Header["Content-Length"]; len(lengths) > 0 {
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil || len(lengths) > 1 {
			return false
		}
		s.declared = int64(n)
	}
	r.ContentLength = s.declared
	if f.StreamEnded() {
		if s.declared > 0 {
			return false
		}
		s.remoteClosed = true
		r.ContentLength, r.Body = 0, http.NoBody
		return true
	}
	r.Body = body{s}
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		s.continues = true
		delete(r.Header, "Expect")
	}
	return true
}

// canonical is the name of a header as net/http has it.
func (c *conn) canonical(name string) string {
	if known, ok := c.names[name]; ok {
		return known
	}
	key := http.CanonicalHeaderKey(name)
	if len(c.names) < cached {
		c.names[name] = key
	}
	return key
}
