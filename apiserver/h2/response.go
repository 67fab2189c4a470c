package h2

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

const (
	// smallAnswer is what is kept back until it is flushed or its handler returns, so that its length can be told.
	smallAnswer = 4 << 10
	// writeAt is how much of a large answer is sent at a time.
	writeAt = 64 << 10
)

var smallAnswers = sync.Pool{New: func() any { b := make([]byte, 0, smallAnswer); return &b }}

// response is the http.ResponseWriter of a stream, with what http.ResponseController asks for. It is its handler's alone: what
// it shares with the connection is under that one's lock.
type response struct {
	s      *stream
	header http.Header
	// instead is a code that is answered instead of asking the handler.
	instead int
	head    bool // no body is sent

	code int
	// fields are the headers as they were when the handler set the code.
	fields                   []hpack.HeaderField
	hasType, hasDate, leaves bool
	announced                []string // trailers
	marked                   bool     // there is a trailer by http.TrailerPrefix already
	snapped                  int      // how many headers there were
	length                   int64    // as declared, or -1
	body                     int64    // written so far
	sent                     bool     // the headers
	small                    *[]byte
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 8)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(code int) {
	switch {
	case w.code != 0:
		return
	case code < 100 || code > 999:
		panic("h2: invalid status code " + strconv.Itoa(code))
	case code < 200:
		c := w.s.conn
		c.mu.Lock()
		defer c.mu.Unlock()
		if w.informational(code, w.header) == nil {
			c.write()
		}
		return
	}
	w.code, w.length, w.snapped = code, -1, len(w.header)
	w.fields = make([]hpack.HeaderField, 0, len(w.header)+2)
	for name, values := range w.header {
		w.snap(name, values)
	}
}

// snap notes a header as it is now.
func (w *response) snap(name string, values []string) {
	switch name {
	case "Connection":
		// HTTP/2 has no such header, but a way to say the same.
		w.leaves = len(values) > 0 && strings.EqualFold(values[0], "close")
		return
	case "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade":
		return
	case "Content-Length":
		if len(values) > 0 {
			if n, err := strconv.ParseUint(values[0], 10, 63); err == nil {
				w.length = int64(n)
			}
		}
		return
	case "Content-Type":
		w.hasType = true
	case "Content-Encoding":
		w.hasType = w.hasType || len(values) > 0 && values[0] != ""
	case "Date":
		w.hasDate = true
	case "Trailer":
		for _, v := range values {
			for announced := range strings.SplitSeq(v, ",") {
				w.announced = append(w.announced, http.CanonicalHeaderKey(strings.TrimSpace(announced)))
			}
		}
	}
	if strings.HasPrefix(name, http.TrailerPrefix) {
		w.marked = true
		return
	}
	w.fields = appendFields(w.fields, name, values)
}

func appendFields(fields []hpack.HeaderField, name string, values []string) []hpack.HeaderField {
	lower := lowered(name)
	if lower == "" {
		return fields
	}
	for _, v := range values {
		if httpguts.ValidHeaderFieldValue(v) {
			// What is never the same twice would only push out of the table what is.
			fields = append(fields, hpack.HeaderField{Name: lower, Value: v, Sensitive: name == "Audit-Id"})
		}
	}
	return fields
}

// bodyAllowed says whether the code may be followed by a body.
func (w *response) bodyAllowed() bool {
	return w.code != http.StatusNoContent && w.code != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.bodyAllowed() {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.body+int64(len(b)) > w.length {
		return 0, http.ErrContentLength
	}
	w.body += int64(len(b))
	if w.head && w.small == nil && w.body > smallAnswer {
		return len(b), nil
	}
	if w.small == nil {
		w.small = smallAnswers.Get().(*[]byte)
	}
	if len(*w.small)+len(b) <= smallAnswer {
		*w.small = append(*w.small, b...)
		return len(b), nil
	}
	c := w.s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.send(); err != nil {
		return 0, err
	}
	if w.head {
		return len(b), nil
	}
	if err := w.s.sendData(b, false); err != nil {
		return 0, err
	}
	if len(c.out.pending) >= writeAt {
		c.write()
	}
	return len(b), nil
}

// FlushError sends what has been written so far.
func (w *response) FlushError() error {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	c := w.s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	err := w.send()
	c.write()
	return err
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// SetReadDeadline and the others are for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error  { return w.s.setReadDeadline(t) }
func (w *response) SetWriteDeadline(t time.Time) error { return w.s.setWriteDeadline(t) }
func (w *response) EnableFullDuplex() error            { return nil } // it always is

// send puts the headers, if they have not been sent, and what was kept back into pending. The lock is held, and may be released
// meanwhile.
func (w *response) send() error {
	if w.s.finished {
		return errFinished
	}
	if w.s.failed != nil {
		return w.s.failed
	}
	if err := w.sendHeaders(false); err != nil {
		return err
	}
	if w.small == nil || w.head {
		return nil
	}
	small := w.small
	w.small = nil
	err := w.s.sendData(*small, false)
	*small = (*small)[:0]
	smallAnswers.Put(small)
	return err
}

// sendHeaders encodes the headers. The lock is held.
func (w *response) sendHeaders(end bool) error {
	if w.sent {
		return nil
	}
	w.sent = true
	w.s.continues = false
	c := w.s.conn
	c.out.block.Reset()
	enc := c.out.encoder
	field := func(name, value string, once bool) {
		_ = enc.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: once}) // a buffer takes everything
	}
	field(":status", codeText(w.code), false)
	for _, f := range w.fields {
		_ = enc.WriteField(f)
	}
	w.fields = nil
	if !w.hasType && w.small != nil && len(*w.small) > 0 {
		field("content-type", http.DetectContentType(*w.small), false)
	}
	if w.length >= 0 {
		field("content-length", strconv.FormatInt(w.length, 10), true)
	}
	if !w.hasDate {
		field("date", date(), false)
	}
	if w.leaves {
		c.drainLocked()
	}
	return c.out.headers(w.s.id, end)
}

// informational sends a code that precedes the answer. The lock is held.
func (w *response) informational(code int, header http.Header) error {
	w.s.continues = false
	c := w.s.conn
	switch {
	case w.s.failed != nil:
		return w.s.failed
	case w.s.finished:
		return errFinished
	case w.sent:
		return nil
	}
	c.out.block.Reset()
	fields := []hpack.HeaderField{{Name: ":status", Value: codeText(code)}}
	if code != http.StatusContinue {
		for name, values := range header {
			switch name {
			case "Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Content-Length", "Trailer":
			default:
				fields = appendFields(fields, name, values)
			}
		}
	}
	for _, f := range fields {
		_ = c.out.encoder.WriteField(f)
	}
	return c.out.headers(w.s.id, false)
}

// complete sends what is left of the answer, and its end. The lock is held, and may be released meanwhile.
func (w *response) complete() error {
	if w.s.failed != nil {
		return w.s.failed
	}
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	rest := []byte(nil)
	if w.small != nil {
		rest = *w.small
	}
	trailers := w.trailers()
	if !w.sent && w.length < 0 && w.bodyAllowed() && len(trailers) == 0 && (len(rest) > 0 || !w.head) {
		w.length = w.body
	}
	if w.head {
		rest = nil
	}
	empty := len(rest) == 0 && len(trailers) == 0
	alone := empty && !w.sent
	if err := w.sendHeaders(alone); err != nil {
		return err
	}
	if w.length >= 0 && w.body != w.length && !w.head && w.bodyAllowed() {
		return http.ErrContentLength
	}
	if !alone && (len(rest) > 0 || empty) {
		if err := w.s.sendData(rest, len(trailers) == 0); err != nil {
			return err
		}
	}
	if w.small != nil {
		*w.small = (*w.small)[:0]
		smallAnswers.Put(w.small)
		w.small = nil
	}
	if len(trailers) == 0 {
		return nil
	}
	w.s.conn.out.block.Reset()
	for _, f := range trailers {
		_ = w.s.conn.out.encoder.WriteField(f)
	}
	return w.s.conn.out.headers(w.s.id, true)
}

// trailers are the headers that the handler has announced, or marked as such, and set by now.
func (w *response) trailers() []hpack.HeaderField {
	var fields []hpack.HeaderField
	for _, name := range w.announced {
		if httpguts.ValidTrailerHeader(name) {
			fields = appendFields(fields, name, w.header[name])
		}
	}
	if w.marked || len(w.header) > w.snapped {
		for name, values := range w.header {
			if bare, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
				fields = appendFields(fields, http.CanonicalHeaderKey(bare), values)
			}
		}
	}
	return fields
}

var lowerNames sync.Map // canonical name -> the same in lower case; names come from handlers, and are few

// lowered is a header's name as HTTP/2 has it; empty for what is none.
func lowered(name string) string {
	if known, ok := lowerNames.Load(name); ok {
		return known.(string)
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return ""
	}
	lower := strings.ToLower(name)
	if wellKnown(name) {
		lowerNames.Store(name, lower)
	}
	return lower
}

// wellKnown keeps what a proxied server makes up out of the memory.
func wellKnown(name string) bool {
	switch name {
	case "Audit-Id", "Cache-Control", "Content-Type", "Content-Encoding", "Vary", "Etag", "Warning", "Retry-After", "Location", "Last-Modified",
		"X-Content-Type-Options", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid", "Www-Authenticate", "Allow", "Date":
		return true
	}
	return false
}

func codeText(code int) string {
	switch code {
	case http.StatusOK:
		return "200"
	case http.StatusCreated:
		return "201"
	}
	return strconv.Itoa(code)
}

// today is the Date header of this second.
var today atomic.Pointer[dated]

type dated struct {
	second int64
	text   string
}

func date() string {
	now := time.Now()
	if d := today.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
	today.Store(d)
	return d.text
}
