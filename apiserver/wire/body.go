package wire

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// MaxBody is the size in bytes of the largest request that is read.
const MaxBody = 3 * 1024 * 1024

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keepBuffer is the size above which a buffer is left to the garbage collector, so that one big request does not hold
// its memory for ever.
const keepBuffer = 256 * 1024

func getBuffer() *bytes.Buffer {
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= keepBuffer {
		buffers.Put(b)
	}
}

// ReadBody reads a request's body. The bytes may be used until release is called.
func ReadBody(r *http.Request) (body []byte, release func(), err error) {
	buf := getBuffer()
	release = func() { putBuffer(buf) }
	if r.Body == nil || r.Body == http.NoBody {
		return nil, release, nil
	}
	if n := r.ContentLength; n > 0 && n <= MaxBody {
		buf.Grow(int(n) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		release()
		return nil, func() {}, apierrors.NewBadRequest(fmt.Sprintf("the request's body could not be read: %v", err))
	case n > MaxBody:
		release()
		return nil, func() {}, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", MaxBody))
	}
	return buf.Bytes(), release, nil
}
