package jsonplan

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Append appends the JSON of what obj points to, without a line break: what encoding/json writes. It answers false, and
// what it returns is not to be used, where that has to be asked.
func Append(b []byte, obj any) ([]byte, bool) {
	p, at := objectOf(obj)
	if p == nil {
		return b, false
	}
	return p.append(b, at)
}

func (p *plan) append(b []byte, at unsafe.Pointer) ([]byte, bool) {
	switch p.shape {
	case boolean:
		return strconv.AppendBool(b, *(*bool)(at)), true
	case integer:
		return p.appendInteger(b, at), true
	case text:
		return appendText(b, *(*string)(at)), true
	case structure:
		return p.appendStruct(b, at)
	case pointer:
		to := *(*unsafe.Pointer)(at)
		if to == nil {
			return append(b, "null"...), true
		}
		return p.elem.append(b, to)
	case list:
		return p.appendList(b, (*slice)(at))
	case textMap:
		return appendMap(b, *(*map[string]string)(at), func(b []byte, s string) ([]byte, bool) { return appendText(b, s), true })
	case bytesMap:
		return appendMap(b, *(*map[string][]byte)(at), func(b []byte, v []byte) ([]byte, bool) { return appendBytes(b, v), true })
	case resources:
		return appendMap(b, *(*corev1.ResourceList)(at), func(b []byte, q resource.Quantity) ([]byte, bool) { return appendQuantity(b, &q), true })
	case bytes:
		return appendBytes(b, *(*[]byte)(at)), true
	case timestamp:
		return appendTime(b, (*metav1.Time)(at).Time, time.RFC3339), true
	case microTime:
		return appendTime(b, (*metav1.MicroTime)(at).Time, metav1.RFC3339Micro), true
	case quantity:
		return appendQuantity(b, (*resource.Quantity)(at)), true
	case intOrString:
		return appendIntOrString(b, (*intstr.IntOrString)(at))
	case fieldsV1:
		if raw := (*metav1.FieldsV1)(at).GetRawBytes(); plainFields(raw) {
			return append(b, raw...), true
		}
	}
	data, err := json.Marshal(reflect.NewAt(p.typ, at).Interface())
	return append(b, data...), err == nil
}

func (p *plan) appendStruct(b []byte, at unsafe.Pointer) ([]byte, bool) {
	b = append(b, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		value := unsafe.Add(at, f.offset)
		if f.omitEmpty && f.plan.empty(value) || f.omitZero && f.zero(value) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.key...)
		var ok bool
		if b, ok = f.plan.append(b, value); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

// empty is what omitempty leaves out.
func (p *plan) empty(at unsafe.Pointer) bool {
	switch p.shape {
	case boolean:
		return !*(*bool)(at)
	case text:
		return len(*(*string)(at)) == 0
	case pointer:
		return *(*unsafe.Pointer)(at) == nil
	case list, bytes:
		return (*slice)(at).len == 0
	case textMap:
		return len(*(*map[string]string)(at)) == 0
	case structure, timestamp, microTime, quantity, intOrString, fieldsV1:
		return false
	}
	switch v := reflect.NewAt(p.typ, at).Elem(); v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}

func (p *plan) appendList(b []byte, s *slice) ([]byte, bool) {
	if s.data == nil {
		return append(b, "null"...), true
	}
	b = append(b, '[')
	for i := range s.len {
		if i > 0 {
			b = append(b, ',')
		}
		var ok bool
		if b, ok = p.elem.append(b, s.at(i, p.elem.size)); !ok {
			return b, false
		}
	}
	return append(b, ']'), true
}

func appendMap[K ~string, V any](b []byte, m map[K]V, value func([]byte, V) ([]byte, bool)) (_ []byte, ok bool) {
	if m == nil {
		return append(b, "null"...), true
	}
	var room [16]K
	keys := room[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, string(k)), ':')
		if b, ok = value(b, m[k]); !ok {
			return b, false
		}
	}
	return append(b, '}'), true
}

func (p *plan) appendInteger(b []byte, at unsafe.Pointer) []byte {
	if !p.signed {
		return strconv.AppendUint(b, reflect.NewAt(p.typ, at).Elem().Uint(), 10)
	}
	switch p.size {
	case 4:
		return strconv.AppendInt(b, int64(*(*int32)(at)), 10)
	case 8:
		return strconv.AppendInt(b, *(*int64)(at), 10)
	}
	return strconv.AppendInt(b, reflect.NewAt(p.typ, at).Elem().Int(), 10)
}

func appendBytes(b, value []byte) []byte {
	if value == nil {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, '"')
}

func appendTime(b []byte, t time.Time, layout string) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, layout)
	return append(b, '"')
}

func appendQuantity(b []byte, q *resource.Quantity) []byte {
	b = append(b, '"')
	b = append(b, q.String()...)
	return append(b, '"')
}

func appendIntOrString(b []byte, v *intstr.IntOrString) ([]byte, bool) {
	switch v.Type {
	case intstr.Int:
		return strconv.AppendInt(b, int64(v.IntVal), 10), true
	case intstr.String:
		return appendText(b, v.StrVal), true
	}
	return b, false
}

// asIs are the characters that are written as they are.
var asIs = func() (table [256]bool) {
	for c := ' '; c <= '~'; c++ {
		table[c] = !odd(c)
	}
	return table
}()

const hexDigits = "0123456789abcdef"

// appendText writes a string as encoding/json does: characters that mean something in HTML or JavaScript are escaped, and
// what is not UTF-8 is replaced.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if asIs[c] {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[from:i]...)
			switch c {
			case '\\', '"':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			case 0x7f:
				b = append(b, c)
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, s[from:i]...)
			b = append(b, `\ufffd`...)
			from = i + n
		case r == '\u2028' || r == '\u2029':
			b = append(b, s[from:i]...)
			b = append(b, '\\', 'u', '2', '0', '2', hexDigits[r&15])
			from = i + n
		}
		i += n
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// plainFields says that the value of a FieldsV1 is as the server writes it: objects of objects without spaces, the names
// of which are written as they are. Anything else is checked, and put in shape, by encoding/json.
func plainFields(raw []byte) bool {
	depth, i := 0, 0
	for i < len(raw) {
		// Here an object begins.
		if raw[i] != '{' {
			return false
		}
		depth++
		i++
		if i < len(raw) && raw[i] == '}' {
			// It is empty: it ends, and with it perhaps those around it.
			for i < len(raw) && raw[i] == '}' && depth > 0 {
				depth--
				i++
			}
			if depth == 0 {
				return i == len(raw)
			}
			if i >= len(raw) || raw[i] != ',' {
				return false
			}
			i++
		}
		// A name and its colon.
		if i >= len(raw) || raw[i] != '"' {
			return false
		}
		for i++; i < len(raw) && raw[i] != '"'; i++ {
			if asIs[raw[i]] {
				continue
			}
			if raw[i] != '\\' || i+1 >= len(raw) || raw[i+1] != '"' && raw[i+1] != '\\' {
				return false
			}
			i++
		}
		if i+1 >= len(raw) || raw[i+1] != ':' {
			return false
		}
		i += 2
	}
	return false
}
