package watchcache

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// Frame is an event as a watch stream carries it, in pieces: Body is shared by all watchers of a form, Head and Tail are a
// few bytes around it. JSON is a line {"type":…,"object":…}; protobuf is a WatchEvent after its length in four bytes.
type Frame struct{ Head, Body, Tail []byte }

// AppendTo appends the frame to a buffer.
func (f Frame) AppendTo(b []byte) []byte {
	return append(append(append(b, f.Head...), f.Body...), f.Tail...)
}

// Len is the length of the whole frame.
func (f Frame) Len() int { return len(f.Head) + len(f.Body) + len(f.Tail) }

var (
	jsonHeads = map[watch.EventType][]byte{}
	jsonTail  = []byte("}\n")
)

func init() {
	for _, t := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted, watch.Bookmark, watch.Error} {
		jsonHeads[t] = fmt.Appendf(nil, `{"type":%q,"object":`, t)
	}
}

// Frame is the event in one form.
func (e Event) Frame(form Form) (Frame, error) {
	body, err := e.body(form)
	if err != nil {
		return Frame{}, err
	}
	if form.Media == JSON {
		return Frame{jsonHeads[e.Type], bytes.TrimSuffix(body, []byte("\n")), jsonTail}, nil
	}
	return Frame{Head: protobufHead(e.Type, len(body)), Body: body}, nil
}

func (e Event) body(form Form) ([]byte, error) {
	if e.Status == nil {
		return e.Object.Bytes(form)
	}
	status := *e.Status
	status.Kind, status.APIVersion = "Status", "v1"
	if form.Media == JSON {
		return json.Marshal(&status)
	}
	raw, err := status.Marshal()
	if err != nil {
		return nil, err
	}
	envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{Kind: "Status", APIVersion: "v1"}, Raw: raw}
	b, err := envelope.Marshal()
	return append([]byte("k8s\x00"), b...), err
}

// protobufHead is all of a framed metav1.WatchEvent but the object's bytes, which come last.
//
//	message WatchEvent { optional string type = 1; optional RawExtension object = 2; }
//	message RawExtension { optional bytes raw = 1; }
func protobufHead(t watch.EventType, body int) []byte {
	const field1, field2 = 1<<3 | 2, 2<<3 | 2 // both length-delimited
	h := make([]byte, 4, 32)
	h = append(h, field1, byte(len(t)))
	h = append(h, t...)
	raw := binary.AppendUvarint([]byte{field1}, uint64(body))
	h = append(h, field2)
	h = binary.AppendUvarint(h, uint64(len(raw)+body))
	h = append(h, raw...)
	binary.BigEndian.PutUint32(h, uint32(len(h)-4+body))
	return h
}

// errorEvent is how a watch that has begun reports an error.
func errorEvent(err error) Event {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		switch {
		case errors.Is(err, storage.ErrTimeout):
			status = apierrors.NewTimeoutError(err.Error(), retrySeconds)
		case errors.Is(err, storage.ErrUnavailable):
			status = apierrors.NewServiceUnavailable(err.Error())
		case errors.Is(err, storage.ErrCompacted):
			status = apierrors.NewResourceExpired("The resourceVersion for the provided watch is too old.")
		default:
			status = &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
				Reason: metav1.StatusReasonInternalError, Message: err.Error()}}
		}
	}
	s := status.Status()
	return Event{Type: watch.Error, Status: &s}
}
