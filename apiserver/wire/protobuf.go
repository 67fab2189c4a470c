package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// magic starts every protobuf body and value: "k8s" and a zero.
var magic = []byte("k8s\x00")

// The fields of runtime.Unknown and runtime.TypeMeta, as tags on the wire (all are length-delimited).
const (
	tagTypeMeta    = 0x0a
	tagRaw         = 0x12
	tagEncoding    = 0x1a
	tagContentType = 0x22
	tagAPIVersion  = 0x0a
	tagKind        = 0x12
)

// envelopeTail is what follows Raw: an empty content encoding and an empty content type, which the generated code
// always writes.
var envelopeTail = []byte{tagEncoding, 0, tagContentType, 0}

// protoMessage is what all built-in types are.
type protoMessage interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
	Unmarshal([]byte) error
	Reset()
}

func uvarintLen(n int) int {
	size := 1
	for v := uint64(n); v >= 0x80; v >>= 7 {
		size++
	}
	return size
}

// envelopeHead is everything in front of Raw but its tag and length: it depends on the type alone.
func envelopeHead(gvk schema.GroupVersionKind) []byte {
	version := gvk.GroupVersion().String()
	meta := binary.AppendUvarint([]byte{tagAPIVersion}, uint64(len(version)))
	meta = append(meta, version...)
	meta = append(meta, tagKind)
	meta = binary.AppendUvarint(meta, uint64(len(gvk.Kind)))
	meta = append(meta, gvk.Kind...)
	head := append([]byte{}, magic...)
	head = append(head, tagTypeMeta)
	head = binary.AppendUvarint(head, uint64(len(meta)))
	return append(head, meta...)
}

// appendEnvelope writes an enveloped message: the bytes that the API machinery's protobuf serializer writes.
func appendEnvelope(dst, head []byte, msg protoMessage) ([]byte, error) {
	size := msg.Size()
	need := len(head) + 1 + uvarintLen(size) + size + len(envelopeTail)
	if cap(dst)-len(dst) < need {
		dst = append(make([]byte, 0, len(dst)+need), dst...)
	}
	dst = append(dst, head...)
	dst = append(dst, tagRaw)
	dst = binary.AppendUvarint(dst, uint64(size))
	at := len(dst)
	dst = dst[:at+size]
	if n, err := msg.MarshalToSizedBuffer(dst[at:]); err != nil {
		return nil, fmt.Errorf("encode protobuf: %w", err)
	} else if n != size {
		return nil, fmt.Errorf("encode protobuf: %T is %d bytes, not %d", msg, n, size)
	}
	return append(dst, envelopeTail...), nil
}

var errTruncated = errors.New("unexpected EOF")

// openEnvelope takes an enveloped message apart without copying. typ is empty for an envelope without one.
func openEnvelope(data []byte) (typ runtime.TypeMeta, raw []byte, err error) {
	if !bytes.HasPrefix(data, magic) {
		return typ, nil, fmt.Errorf("provided data does not appear to be a protobuf message, expected prefix %v", magic)
	}
	data = data[len(magic):]
	whole := data
	for len(data) > 0 {
		tag := data[0]
		if tag != tagTypeMeta && tag != tagRaw && tag != tagEncoding && tag != tagContentType {
			return openStrangeEnvelope(whole)
		}
		value, rest, err := lengthDelimited(data[1:])
		if err != nil {
			return typ, nil, err
		}
		switch tag {
		case tagTypeMeta:
			if err := typ.Unmarshal(value); err != nil {
				return typ, nil, err
			}
		case tagRaw:
			raw = value
		}
		data = rest
	}
	return typ, raw, nil
}

// openStrangeEnvelope takes one apart that has fields of the future in it, by the generated code.
func openStrangeEnvelope(data []byte) (typ runtime.TypeMeta, raw []byte, err error) {
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(data); err != nil {
		return typ, nil, err
	}
	return unknown.TypeMeta, unknown.Raw, nil
}

func lengthDelimited(data []byte) (value, rest []byte, err error) {
	n, size := binary.Uvarint(data)
	if size <= 0 || n > uint64(len(data)-size) {
		return nil, nil, errTruncated
	}
	return data[size : size+int(n)], data[size+int(n):], nil
}

// rawOf is the message inside bytes that appendEnvelope wrote with head.
func rawOf(enveloped []byte, headLen int) []byte {
	value, _, err := lengthDelimited(enveloped[headLen+1:])
	if err != nil {
		panic(fmt.Sprintf("wire: not an envelope of ours: %v", err))
	}
	return value
}
