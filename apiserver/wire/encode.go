package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/wire/jsonplan"
)

// gzipFrom is the size in bytes from which answers are compressed for clients that accept it: below, the time is worth
// more than the bytes.
const gzipFrom = 128 * 1024

// WriteObject answers with an object that is not kept in encoded form: a Status, a review, the outcome of a dry run.
// Its TypeMeta must be set.
func WriteObject(w http.ResponseWriter, r *http.Request, code int, accepted Accepted, obj runtime.Object) {
	body, err := Encode(obj, accepted.Format)
	if err != nil {
		if accepted.Format == Protobuf {
			// A type without protobuf: the client accepts what it cannot have.
			WriteError(w, jsonOnly(r), NotAcceptable(err.Error()))
			return
		}
		body, _ = Encode(StatusOf(err), JSON)
		writeBody(w, r, http.StatusInternalServerError, TypeJSON, body)
		return
	}
	WriteEncoded(w, r, code, accepted, body)
}

func jsonOnly(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Set("Accept", TypeJSON)
	return r
}

// WriteEncoded answers with an object that is encoded already: as JSON for YAML, otherwise in the accepted format.
func WriteEncoded(w http.ResponseWriter, r *http.Request, code int, accepted Accepted, body []byte) {
	switch {
	case accepted.Format == JSON && accepted.Pretty:
		body = indent(body)
	case accepted.Format == YAML && len(body) > 0 && body[0] == '{':
		if out, err := yaml.JSONToYAML(body); err == nil {
			body = out
		}
	}
	writeBody(w, r, code, accepted.Format.ContentType(), body)
}

// Encode writes an object down. YAML is returned as JSON: see WriteEncoded.
func Encode(obj runtime.Object, format Format) ([]byte, error) {
	if format == Protobuf {
		msg, ok := obj.(protoMessage)
		if !ok {
			return nil, notMarshalable(obj)
		}
		return appendEnvelope(nil, envelopeHead(obj.GetObjectKind().GroupVersionKind()), msg)
	}
	return encodeJSON(obj)
}

// encodeJSON ends in a newline, as the API's JSON always does.
func encodeJSON(obj any) ([]byte, error) {
	buf := getBuffer()
	defer putBuffer(buf)
	if err := writeJSON(buf, obj); err != nil {
		return nil, err
	}
	buf.WriteByte('\n')
	return bytes.Clone(buf.Bytes()), nil
}

func writeJSON(buf *bytes.Buffer, obj any) error {
	if data, ok := jsonplan.Append(buf.AvailableBuffer(), obj); ok {
		buf.Write(data)
		return nil
	}
	if u, custom := obj.(*unstructured.Unstructured); custom {
		obj = u.Object // its own MarshalJSON encodes the same twice
	}
	err := json.NewEncoder(buf).Encode(obj)
	buf.Truncate(max(buf.Len()-1, 0)) // a line break
	return err
}

func indent(body []byte) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSuffix(body, []byte("\n")), "", "  "); err != nil {
		return body
	}
	return out.Bytes()
}

func writeBody(w http.ResponseWriter, r *http.Request, code int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	if len(body) > gzipFrom && acceptsGzip(r) {
		z := startGzip(w)
		w.WriteHeader(code)
		_, _ = z.Write(body)
		endGzip(z)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

var gzips = sync.Pool{New: func() any {
	// Level 1: a list that costs more time than it saves would help nobody; upstream chose 1 too.
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return z
}}

func startGzip(w http.ResponseWriter) *gzip.Writer {
	h := w.Header()
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	z := gzips.Get().(*gzip.Writer)
	z.Reset(w)
	return z
}

func endGzip(z *gzip.Writer) {
	_ = z.Close()
	z.Reset(io.Discard)
	gzips.Put(z)
}

func acceptsGzip(r *http.Request) bool {
	header := r.Header.Get("Accept-Encoding")
	for header != "" {
		var token string
		token, header, _ = strings.Cut(header, ",")
		token, params, _ := strings.Cut(token, ";")
		if strings.TrimSpace(token) == "gzip" {
			return strings.TrimSpace(params) != "q=0"
		}
	}
	return false
}
