// Package equal says whether two values of an API type say the same, as apimachinery's equality.Semantic does: nothing and
// empty are the same, and so are two ways to write a quantity or a time. Most values that are compared here are equal, an
// update of an annotation leaves the whole spec as it is, and the library takes longer to see that than all else in such an
// update. So values are compared by a walk along a plan that is made once per type. The library is asked about what holds
// something that the walk is not sure of.
package equal

import (
	"maps"
	"reflect"
	"sync"
	"unsafe"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Semantic says that what a and b point to is semantically equal.
func Semantic[T any](a, b *T) bool {
	return Pointers(reflect.ValueOf(a), reflect.ValueOf(b))
}

// Pointers says that what two pointers of one type point to is semantically equal. They are not nil.
func Pointers(a, b reflect.Value) bool {
	switch planOf(a.Type().Elem()).compare(a.UnsafePointer(), b.UnsafePointer()) {
	case same:
		return true
	case different:
		return false
	}
	return apiequality.Semantic.DeepEqual(a.Interface(), b.Interface())
}

// outcome is what a walk finds out.
type outcome uint8

const (
	same outcome = iota
	different
	// unsure is left to the library.
	unsure
)

func sameIf(ok bool) outcome {
	if ok {
		return same
	}
	return different
}

// plan compares the values of one type.
type plan struct {
	typ  reflect.Type
	kind kind
	size uintptr
	// elem is what a pointer or a list holds.
	elem *plan
	// parts are those of a struct.
	parts []part
}

type part struct {
	offset uintptr
	*plan
}

type kind uint8

const (
	// plain values are equal if their bytes are.
	plain kind = iota
	text
	structure
	pointer
	list
	textMap // map[string]string
	timestamp
	microTime
	quantity
	// other values are compared by reflection: maps of other kinds, floats, interfaces.
	other
)

// slice is how Go lays out a slice of any type.
type slice struct {
	data     unsafe.Pointer
	len, cap int
}

func (p *plan) compare(a, b unsafe.Pointer) outcome {
	if a == b {
		return same
	}
	switch p.kind {
	case plain:
		return sameIf(unsafe.String((*byte)(a), p.size) == unsafe.String((*byte)(b), p.size))
	case text:
		return sameIf(*(*string)(a) == *(*string)(b))
	case structure:
		if unsafe.String((*byte)(a), p.size) == unsafe.String((*byte)(b), p.size) {
			return same // all that they refer to is the same
		}
		out := same
		for i := range p.parts {
			f := &p.parts[i]
			if o := f.compare(unsafe.Add(a, f.offset), unsafe.Add(b, f.offset)); o == different {
				return different
			} else if o == unsure {
				out = unsure
			}
		}
		return out
	case pointer:
		x, y := *(*unsafe.Pointer)(a), *(*unsafe.Pointer)(b)
		if x == nil || y == nil {
			return sameIf(x == y)
		}
		return p.elem.compare(x, y)
	case list:
		return p.lists((*slice)(a), (*slice)(b))
	case textMap:
		return sameIf(maps.Equal(*(*map[string]string)(a), *(*map[string]string)(b)))
	case timestamp:
		return sameIf((*metav1.Time)(a).UTC() == (*metav1.Time)(b).UTC())
	case microTime:
		return sameIf((*metav1.MicroTime)(a).UTC() == (*metav1.MicroTime)(b).UTC())
	case quantity:
		return sameIf((*resource.Quantity)(a).Cmp(*(*resource.Quantity)(b)) == 0)
	}
	if reflect.DeepEqual(reflect.NewAt(p.typ, a).Interface(), reflect.NewAt(p.typ, b).Interface()) {
		return same
	}
	return unsure
}

func (p *plan) lists(a, b *slice) outcome {
	if a.len != b.len {
		return different
	}
	if a.data == b.data {
		return same
	}
	out := same
	for i := range a.len {
		at := uintptr(i) * p.elem.size
		if o := p.elem.compare(unsafe.Add(a.data, at), unsafe.Add(b.data, at)); o == different {
			return different
		} else if o == unsure {
			out = unsure
		}
	}
	return out
}

var plans sync.Map // reflect.Type -> *plan

func planOf(t reflect.Type) *plan {
	if known, ok := plans.Load(t); ok {
		return known.(*plan)
	}
	p := (maker{}).make(t)
	plans.Store(t, p)
	return p
}

// maker knows the types that it is at work on: some hold themselves.
type maker map[reflect.Type]*plan

func (m maker) make(t reflect.Type) *plan {
	if known := m[t]; known != nil {
		return known
	}
	p := &plan{typ: t, size: t.Size(), kind: other}
	m[t] = p
	switch t {
	case reflect.TypeFor[metav1.Time]():
		p.kind = timestamp
		return p
	case reflect.TypeFor[metav1.MicroTime]():
		p.kind = microTime
		return p
	case reflect.TypeFor[resource.Quantity]():
		p.kind = quantity
		return p
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.kind = plain
	case reflect.String:
		p.kind = text
	case reflect.Pointer:
		p.kind, p.elem = pointer, m.make(t.Elem())
	case reflect.Slice:
		p.kind, p.elem = list, m.make(t.Elem())
	case reflect.Map:
		if t.Key() == reflect.TypeFor[string]() && t.Elem() == reflect.TypeFor[string]() {
			p.kind = textMap
		}
	case reflect.Struct:
		p.kind = structure
		for i := range t.NumField() {
			f := t.Field(i)
			p.parts = append(p.parts, part{f.Offset, m.make(f.Type)})
		}
	}
	return p
}
