package jsonplan

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// shape is how the values of a type are written.
type shape uint8

const (
	// foreign is a type that the libraries are asked about: floats, interfaces, maps of structs, types with methods of
	// their own.
	foreign shape = iota
	boolean
	integer
	text
	bytes
	structure
	pointer
	list
	textMap      // map[string]string
	bytesMap     // map[string][]byte
	resources    // corev1.ResourceList
	timestamp    // metav1.Time
	microTime    // metav1.MicroTime
	quantity     // resource.Quantity
	intOrString  // intstr.IntOrString
	fieldsV1     // metav1.FieldsV1
	unknownShape // only while a plan is made
)

// plan is how one type is read and written.
type plan struct {
	shape shape
	typ   reflect.Type
	size  uintptr
	// signed is an integer's.
	signed bool
	// elem is what a pointer or a list holds.
	elem *plan
	// fields are those of a structure, in the order in which they are written; byName are their places.
	fields []field
	byName map[string]int
}

type field struct {
	name string
	// key is the name as it is written, with its quotes and colon.
	key    string
	offset uintptr
	plan   *plan
	// omitEmpty and omitZero are the options of the tag; zero is a type's own IsZero.
	omitEmpty, omitZero bool
	zero                func(at unsafe.Pointer) bool
	// own says that the field is one of apiVersion and kind.
	own bool
	// merge is the key by which elements of a list are told apart in a strategic merge patch; odd is any other strategy
	// than that and the usual.
	merge string
	odd   bool
}

// The types that are known by name. They have methods of their own.
var special = map[reflect.Type]shape{
	reflect.TypeFor[metav1.Time]():         timestamp,
	reflect.TypeFor[metav1.MicroTime]():    microTime,
	reflect.TypeFor[resource.Quantity]():   quantity,
	reflect.TypeFor[intstr.IntOrString]():  intOrString,
	reflect.TypeFor[metav1.FieldsV1]():     fieldsV1,
	reflect.TypeFor[corev1.ResourceList](): resources,
	reflect.TypeFor[map[string]string]():   textMap,
	reflect.TypeFor[map[string][]byte]():   bytesMap,
}

var (
	typeMeta = reflect.TypeFor[metav1.TypeMeta]()
	methods  = []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}
	isZeroer = reflect.TypeFor[interface{ IsZero() bool }]()
)

var plans sync.Map // reflect.Type -> *plan

func planOf(t reflect.Type) *plan {
	if known, ok := plans.Load(t); ok {
		return known.(*plan)
	}
	p := (maker{}).make(t)
	plans.Store(t, p)
	return p
}

// objectOf is the plan for what obj points to, and where that is; nil if there is none.
func objectOf(obj any) (*plan, unsafe.Pointer) {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, nil
	}
	p := planOf(v.Type().Elem())
	if p.shape != structure {
		return nil, nil
	}
	return p, v.UnsafePointer()
}

// maker knows the types that it is at work on: some hold themselves.
type maker map[reflect.Type]*plan

func (m maker) make(t reflect.Type) *plan {
	if known := m[t]; known != nil {
		return known
	}
	p := &plan{typ: t, size: t.Size(), shape: foreign}
	m[t] = p
	if s, ok := special[t]; ok {
		p.shape = s
		return p
	}
	// A pointer has the methods of what it points to, which is looked at by itself.
	if t.Kind() != reflect.Pointer && hasMethods(t) {
		return p
	}
	switch t.Kind() {
	case reflect.Bool:
		p.shape = boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		p.shape, p.signed = integer, true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.shape = integer
	case reflect.String:
		p.shape = text
	case reflect.Pointer:
		p.shape, p.elem = pointer, m.make(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			if t.Elem() == reflect.TypeFor[byte]() {
				p.shape = bytes
			}
			return p
		}
		p.shape, p.elem = list, m.make(t.Elem())
	case reflect.Map:
		// Named types of these maps are laid out like them.
		if t.Key() == reflect.TypeFor[string]() && t.Elem() == reflect.TypeFor[string]() {
			p.shape = textMap
		}
	case reflect.Struct:
		p.shape, p.byName = structure, map[string]int{}
		if !m.fill(p, t, 0) {
			p.shape, p.fields, p.byName = foreign, nil, nil
		}
	}
	return p
}

// hasMethods says that a type, or a pointer to it, writes or reads itself.
func hasMethods(t reflect.Type) bool {
	for _, method := range methods {
		if t.Implements(method) || reflect.PointerTo(t).Implements(method) {
			return true
		}
	}
	return false
}

// fill adds the fields of a struct, which may be embedded in the plan's at an offset. It is false for what the libraries
// have rules for that are not needed here: two fields of one name, embedded pointers.
func (m maker) fill(p *plan, t reflect.Type, at uintptr) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" {
			if f.Type.Kind() != reflect.Struct || !f.IsExported() || !m.fill(p, f.Type, at+f.Offset) {
				return false
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		if _, twice := p.byName[name]; twice || strings.ContainsFunc(name, odd) {
			return false
		}
		out := field{name: name, key: `"` + name + `":`, offset: at + f.Offset, plan: m.make(f.Type), own: t == typeMeta}
		for _, option := range strings.Split(options, ",") {
			switch option {
			case "omitempty":
				out.omitEmpty = true
			case "omitzero":
				out.omitZero, out.zero = true, zeroOf(f.Type)
			case "string":
				return false
			}
		}
		switch f.Tag.Get("patchStrategy") {
		case "", "retainKeys":
		case "merge", "merge,retainKeys":
			out.merge = f.Tag.Get("patchMergeKey")
			out.odd = out.merge == "" // a set of strings
		default:
			out.odd = true
		}
		p.byName[name] = len(p.fields)
		p.fields = append(p.fields, out)
	}
	return true
}

// odd is a character that is not written as it is.
func odd(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune(`"\<>&`, c) }

// zeroOf says whether a value is to be left out by omitzero.
func zeroOf(t reflect.Type) func(unsafe.Pointer) bool {
	if t == reflect.TypeFor[metav1.Time]() {
		return func(at unsafe.Pointer) bool { return (*metav1.Time)(at).IsZero() }
	}
	if t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(isZeroer) {
		return func(at unsafe.Pointer) bool {
			return reflect.NewAt(t, at).Interface().(interface{ IsZero() bool }).IsZero()
		}
	}
	if t.Implements(isZeroer) {
		// A pointer or an interface with such a method.
		return func(at unsafe.Pointer) bool {
			v := reflect.NewAt(t, at).Elem()
			return v.IsNil() || v.Elem().Kind() == reflect.Pointer && v.Elem().IsNil() || v.Interface().(interface{ IsZero() bool }).IsZero()
		}
	}
	return func(at unsafe.Pointer) bool { return reflect.NewAt(t, at).Elem().IsZero() }
}

// slice is how Go lays out a slice of any type.
type slice struct {
	data     unsafe.Pointer
	len, cap int
}

// at is an element of it.
func (s *slice) at(i int, size uintptr) unsafe.Pointer { return unsafe.Add(s.data, uintptr(i)*size) }

// clear makes a value zero.
func (p *plan) clear(at unsafe.Pointer) { reflect.NewAt(p.typ, at).Elem().SetZero() }
