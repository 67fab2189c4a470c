package jsonplan

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kjson "sigs.k8s.io/json"
)

// Unmarshal reads a JSON object into what obj points to, which must be empty. It answers false, and obj is then not to be
// used, for everything that strict decoding finds fault with, and for what it does not know.
func Unmarshal(data []byte, obj any) bool {
	p, at := objectOf(obj)
	if p == nil {
		return false
	}
	d := &decoder{data: string(data)}
	return d.next() == '{' && d.structure(p, at) && d.end()
}

// mostDeep is how deep values may be within each other here. The libraries allow more.
const mostDeep = 200

// decoder reads a body from front to back. All its methods answer false for what has to be left to the libraries, and end
// in front of what follows.
type decoder struct {
	// data is the body as a string, once: the strings of the object are parts of it. An object keeps little else of a
	// body, so hardly any memory is held that would not be otherwise.
	data string
	pos  int
	deep int
	// patch says that the body is a merge patch, and strategic of which kind.
	patch, strategic bool
	// inside says that what is read is new: within a list, or below something that was not there.
	inside bool
}

// next is the next character that is no space, and stays in front of it; 0 at the end.
func (d *decoder) next() byte {
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return c
		}
	}
	return 0
}

// take is next, which must be c, and goes past it.
func (d *decoder) take(c byte) bool {
	if d.next() != c {
		return false
	}
	d.pos++
	return true
}

func (d *decoder) end() bool { return d.next() == 0 && d.pos == len(d.data) }

// word takes null, true or false.
func (d *decoder) word(w string) bool {
	if !strings.HasPrefix(d.data[d.pos:], w) {
		return false
	}
	d.pos += len(w)
	// Whatever follows must be a separator, which the caller sees to.
	return true
}

// more goes on to the next element: it answers whether there is one, and whether what stands there makes sense.
func (d *decoder) more(end byte) (more, ok bool) {
	switch d.next() {
	case ',':
		d.pos++
		return true, true
	case end:
		d.pos++
		return false, true
	}
	return false, false
}

// text reads a string.
func (d *decoder) text() (string, bool) {
	if !d.take('"') {
		return "", false
	}
	start, all := d.pos, true
	for i := start; i < len(d.data); i++ {
		switch c := d.data[i]; {
		case c == '"':
			d.pos = i + 1
			s := d.data[start:i]
			return s, all || utf8.ValidString(s)
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			all = false
		}
	}
	return "", false
}

// escaped reads a string with backslashes in it, which began at start.
func (d *decoder) escaped(start int) (s string, ok bool) {
	for i := start; i < len(d.data); i++ {
		switch d.data[i] {
		case '\\':
			i++
		case '"':
			d.pos = i + 1
			raw := d.data[start-1 : d.pos]
			ok = utf8.ValidString(raw) && json.Unmarshal([]byte(raw), &s) == nil
			return s, ok
		}
	}
	return "", false
}

// skip takes one value of any kind. Whoever uses it has the library look at it.
func (d *decoder) skip() (raw string, ok bool) {
	c := d.next()
	start, depth := d.pos, 0
	for d.pos < len(d.data) {
		switch c := d.data[d.pos]; c {
		case '"':
			if _, ok := d.text(); !ok {
				return "", false
			}
			if depth == 0 {
				return d.data[start:d.pos], true
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return d.data[start:d.pos], d.pos > start
			}
			if depth == 0 {
				d.pos++
				return d.data[start:d.pos], true
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return d.data[start:d.pos], d.pos > start
			}
		}
		d.pos++
	}
	return d.data[start:d.pos], depth == 0 && c != 0
}

// value reads one value to where it belongs.
func (d *decoder) value(p *plan, at unsafe.Pointer, f *field) bool {
	c := d.next()
	if c == 'n' {
		if !d.word("null") {
			return false
		}
		if d.patch && !d.inside {
			p.clear(at)
			return true
		}
		return p.shape != foreign || !hasMethods(p.typ) // of others null leaves what is there, which is nothing
	}
	merging := d.strategic && !d.inside && f != nil
	if merging && f.odd {
		return false
	}
	switch p.shape {
	case boolean:
		switch {
		case c == 't' && d.word("true"):
			*(*bool)(at) = true
		case c == 'f' && d.word("false"):
			*(*bool)(at) = false
		default:
			return false
		}
		return true
	case integer:
		return d.integer(p, at)
	case text:
		s, ok := d.text()
		*(*string)(at) = s
		return ok
	case bytes:
		v, ok := d.bytes()
		*(*[]byte)(at) = v
		return ok
	case structure:
		return d.structure(p, at)
	case pointer:
		return d.pointer(p, at)
	case list:
		if merging && f.merge != "" {
			return d.mergeList(p, at, f)
		}
		return d.list(p, at)
	case textMap:
		return decodeMap(d, (*map[string]string)(at), (*decoder).text)
	case bytesMap:
		return decodeMap(d, (*map[string][]byte)(at), (*decoder).bytes)
	case resources:
		return decodeMap(d, (*map[corev1.ResourceName]resource.Quantity)(at), (*decoder).quantity)
	case timestamp:
		raw, ok := d.plain()
		*(*metav1.Time)(at) = metav1.Time{}
		return ok && (*metav1.Time)(at).UnmarshalJSON([]byte(raw)) == nil
	case microTime:
		raw, ok := d.plain()
		*(*metav1.MicroTime)(at) = metav1.MicroTime{}
		return ok && (*metav1.MicroTime)(at).UnmarshalJSON([]byte(raw)) == nil
	case quantity:
		q, ok := d.quantity()
		*(*resource.Quantity)(at) = q
		return ok
	case intOrString:
		return d.intOrString((*intstr.IntOrString)(at))
	}
	return d.foreign(p, at)
}

// plain reads a string with its quotes, in which nothing is escaped.
func (d *decoder) plain() (raw string, ok bool) {
	if d.next() != '"' {
		return "", false
	}
	start := d.pos
	s, ok := d.text()
	return d.data[start:d.pos], ok && len(s)+2 == d.pos-start
}

func (d *decoder) bytes() ([]byte, bool) {
	s, ok := d.text()
	if !ok {
		return nil, false
	}
	v, err := base64.StdEncoding.DecodeString(s)
	return v, err == nil
}

func (d *decoder) quantity() (q resource.Quantity, ok bool) {
	raw, ok := d.number()
	if !ok {
		if raw, ok = d.plain(); !ok {
			return q, false
		}
	}
	return q, q.UnmarshalJSON([]byte(raw)) == nil
}

// number takes a whole number, as JSON writes it.
func (d *decoder) number() (string, bool) {
	d.next()
	i := d.pos
	if i < len(d.data) && d.data[i] == '-' {
		i++
	}
	first := i
	for i < len(d.data) && d.data[i] >= '0' && d.data[i] <= '9' {
		i++
	}
	if i == first || i-first > 1 && d.data[first] == '0' {
		return "", false
	}
	if i < len(d.data) && (d.data[i] == '.' || d.data[i] == 'e' || d.data[i] == 'E') {
		return "", false
	}
	raw := d.data[d.pos:i]
	d.pos = i
	return raw, true
}

func (d *decoder) integer(p *plan, at unsafe.Pointer) bool {
	raw, ok := d.number()
	if !ok {
		return false
	}
	if !p.signed {
		n, err := strconv.ParseUint(raw, 10, 64)
		v := reflect.NewAt(p.typ, at).Elem()
		if err != nil || v.OverflowUint(n) {
			return false
		}
		v.SetUint(n)
		return true
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		return false
	}
	switch p.size {
	case 4:
		*(*int32)(at) = int32(n)
		return n >= math.MinInt32 && n <= math.MaxInt32
	case 8:
		*(*int64)(at) = n
		return true
	}
	v := reflect.NewAt(p.typ, at).Elem()
	if v.OverflowInt(n) {
		return false
	}
	v.SetInt(n)
	return true
}

func (d *decoder) intOrString(v *intstr.IntOrString) bool {
	if d.next() == '"' {
		s, ok := d.text()
		*v = intstr.FromString(s)
		return ok
	}
	raw, ok := d.number()
	if !ok {
		return false
	}
	n, err := strconv.ParseInt(raw, 10, 32)
	*v = intstr.FromInt32(int32(n))
	return err == nil
}

// structure reads an object. In a patch the fields that it does not name stay as they are.
func (d *decoder) structure(p *plan, at unsafe.Pointer) bool {
	if !d.take('{') || d.deep == mostDeep {
		return false
	}
	d.deep++
	defer func() { d.deep-- }()
	if d.next() == '}' {
		d.pos++
		return true
	}
	var few [2]uint64
	seen := few[:]
	if len(p.fields) > 128 {
		seen = make([]uint64, len(p.fields)/64+1)
	}
	expected := 0
	for {
		name, ok := d.text()
		if !ok {
			return false
		}
		// Most bodies have their fields in the order of the type.
		i := expected
		if i >= len(p.fields) || p.fields[i].name != name {
			if i, ok = p.byName[name]; !ok {
				return false
			}
		}
		if seen[i/64]&(1<<(i%64)) != 0 || !d.take(':') {
			return false
		}
		seen[i/64] |= 1 << (i % 64)
		expected = i + 1
		f := &p.fields[i]
		if d.patch && f.own && d.deep == 1 {
			return false
		}
		if !d.value(f.plan, unsafe.Add(at, f.offset), f) {
			return false
		}
		more, ok := d.more('}')
		if !more {
			return ok
		}
		d.next()
	}
}

func (d *decoder) pointer(p *plan, at unsafe.Pointer) bool {
	to := *(*unsafe.Pointer)(at)
	if to == nil {
		to = reflect.New(p.elem.typ).UnsafePointer()
		*(*unsafe.Pointer)(at) = to
	}
	return d.value(p.elem, to, nil)
}

// list reads an array in the place of whatever is there.
func (d *decoder) list(p *plan, at unsafe.Pointer) bool {
	was := d.inside
	d.inside = true
	ok := d.elements(p, at)
	d.inside = was
	return ok
}

func (d *decoder) elements(p *plan, at unsafe.Pointer) bool {
	if !d.take('[') || d.deep == mostDeep {
		return false
	}
	d.deep++
	defer func() { d.deep-- }()
	s := (*slice)(at)
	*s = slice{}
	if d.next() == ']' {
		d.pos++
		p.grow(s, 0)
		return true
	}
	// Structs are large: better to count them than to copy them about.
	if p.elem.size > 64 {
		p.grow(s, d.count())
	}
	for {
		if s.len == s.cap {
			p.grow(s, max(4, 2*s.cap))
		}
		s.len++
		if d.patch && d.next() == 'n' || !d.value(p.elem, s.at(s.len-1, p.elem.size), nil) {
			return false
		}
		more, ok := d.more(']')
		if !more {
			return ok
		}
	}
}

// grow makes room for so many elements.
func (p *plan) grow(s *slice, to int) {
	fresh := reflect.MakeSlice(p.typ, s.len, to)
	reflect.Copy(fresh, reflect.NewAt(p.typ, unsafe.Pointer(s)).Elem())
	s.data, s.cap = fresh.UnsafePointer(), to
}

// count is how many elements the array has of which the first is next. It is a guess where the body makes no sense.
func (d *decoder) count() int {
	n, depth := 1, 0
	for i := d.pos; i < len(d.data); i++ {
		switch d.data[i] {
		case '"':
			for i++; i < len(d.data) && d.data[i] != '"'; i++ {
				if d.data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return n
			}
		case ',':
			if depth == 0 {
				n++
			}
		}
	}
	return 1
}

// decodeMap reads an object into a map. In a patch null takes a name away.
func decodeMap[K ~string, V any](d *decoder, m *map[K]V, value func(*decoder) (V, bool)) bool {
	if !d.take('{') {
		return false
	}
	var seen map[K]bool
	if *m == nil {
		*m = map[K]V{}
	} else {
		seen = map[K]bool{}
	}
	if d.next() == '}' {
		d.pos++
		return true
	}
	for {
		name, ok := d.text()
		if !ok || !d.take(':') || d.strategic && strings.HasPrefix(name, "$") {
			return false
		}
		key := K(name)
		if seen == nil {
			_, twice := (*m)[key]
			ok = !twice
		} else {
			ok = !seen[key]
			seen[key] = true
		}
		if !ok {
			return false
		}
		if d.next() == 'n' {
			if d.patch && (d.inside || seen == nil) || !d.word("null") {
				return false // there are rules for what is not there
			}
			if d.patch {
				delete(*m, key)
			} else {
				var zero V
				(*m)[key] = zero
			}
		} else {
			v, ok := value(d)
			if !ok {
				return false
			}
			(*m)[key] = v
		}
		more, ok := d.more('}')
		if !more {
			return ok
		}
		d.next()
	}
}

// foreign has the library read a value.
func (d *decoder) foreign(p *plan, at unsafe.Pointer) bool {
	raw, ok := d.skip()
	if !ok {
		return false
	}
	if d.patch && (raw[0] == '{' || raw[0] == '[') {
		return false // it may have to be merged, or nulls in it to be dropped
	}
	p.clear(at)
	found, err := kjson.UnmarshalStrict([]byte(raw), reflect.NewAt(p.typ, at).Interface())
	return err == nil && len(found) == 0
}
