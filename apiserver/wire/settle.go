package wire

import (
	"reflect"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Settle makes of an object that has been written what Decode would answer for the value that EncodeStored made of it:
// what goes through protobuf loses the difference between an empty list and none, and times their fractions. It answers
// false, and obj is then not to be used, where it cannot tell. That costs a small part of decoding.
//
// It implements watchcache.Settler.
func (c *Codec) Settle(obj runtime.Object, revision int64) bool {
	if c.Text || c.kind.StoredJSON || c.stored.FromHub != nil || c.stored.ToHub != nil {
		return false
	}
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() || !settlerOf(v.Type().Elem()).settle(v.UnsafePointer()) {
		return false
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	obj.GetObjectKind().SetGroupVersionKind(c.kind.GVK)
	c.kind.Default(obj)
	m.SetResourceVersion(strconv.FormatInt(revision, 10))
	return true
}

// settler is what is to be done to values of one type. Nothing is written that stays as it is: parts of an object may be
// shared with its predecessor, which others read.
type settler struct {
	kind settlerKind
	// fields are those of a struct that need a look; element is what a pointer, a list or a map holds.
	fields  []settlerField
	element *settler
	// size is that of a list's elements, typ is a map's.
	size uintptr
	typ  reflect.Type
}

type settlerField struct {
	offset uintptr
	*settler
}

type settlerKind uint8

const (
	settleNothing settlerKind = iota
	settleStruct
	settlePointer
	settleList
	settleMap
	settleTime
	settleMicroTime
	// settleRefuse is a type of which it is not known what protobuf makes of it.
	settleRefuse
)

func (s *settler) settle(at unsafe.Pointer) bool {
	switch s.kind {
	case settleStruct:
		for i := range s.fields {
			if f := &s.fields[i]; !f.settle(unsafe.Add(at, f.offset)) {
				return false
			}
		}
	case settlePointer:
		to := *(*unsafe.Pointer)(at)
		return to == nil || s.element.settle(to)
	case settleList:
		list := (*sliceHeader)(at)
		if list.len == 0 {
			if list.data != nil {
				*list = sliceHeader{}
			}
			return true
		}
		if s.element.kind == settleNothing {
			return true
		}
		for i := range list.len {
			if !s.element.settle(unsafe.Add(list.data, uintptr(i)*s.size)) {
				return false
			}
		}
	case settleMap:
		// A map is a pointer, and most are nil.
		if *(*unsafe.Pointer)(at) == nil {
			return true
		}
		v := reflect.NewAt(s.typ, at).Elem()
		if v.Len() > 0 {
			// Values of maps cannot be changed where they are.
			return s.element.kind == settleNothing
		}
		v.SetZero()
	case settleTime:
		settleClock(&(*metav1.Time)(at).Time, 0)
	case settleMicroTime:
		t := (*metav1.MicroTime)(at)
		settleClock(&t.Time, t.Nanosecond()/1000*1000)
	case settleRefuse:
		return false
	}
	return true
}

// sliceHeader is how Go lays out a slice of any type.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

func settleClock(t *time.Time, nanoseconds int) {
	if !t.IsZero() && (t.Nanosecond() != nanoseconds || t.Location() != time.Local) {
		*t = time.Unix(t.Unix(), int64(nanoseconds)).Local()
	}
}

var settlers sync.Map // reflect.Type -> *settler

func settlerOf(t reflect.Type) *settler {
	if known, ok := settlers.Load(t); ok {
		return known.(*settler)
	}
	s := (settlerMaker{}).make(t)
	settlers.Store(t, s)
	return s
}

// settlerMaker knows the types that it is at work on: some hold themselves.
type settlerMaker map[reflect.Type]*settler

var (
	quantityType  = reflect.TypeFor[resource.Quantity]()
	timeType      = reflect.TypeFor[metav1.Time]()
	microTimeType = reflect.TypeFor[metav1.MicroTime]()
	fieldsType    = reflect.TypeFor[metav1.FieldsV1]()
	rawType       = reflect.TypeFor[runtime.RawExtension]()
	typeMetaType  = reflect.TypeFor[metav1.TypeMeta]()
	messageType   = reflect.TypeFor[protoMessage]()
)

func (m settlerMaker) make(t reflect.Type) *settler {
	if known := m[t]; known != nil {
		return known
	}
	s := &settler{}
	m[t] = s
	switch {
	case t == timeType:
		s.kind = settleTime
	case t == microTimeType:
		s.kind = settleMicroTime
	case t == quantityType, t == fieldsType: // kept as text, which comes back as it was
	case t == rawType, t == typeMetaType: // protobuf has no type, and an object within another gets it by default
		s.kind = settleRefuse
	case t.Kind() == reflect.Struct:
		m.fillStruct(s, t)
	case reflect.PointerTo(t).Implements(messageType):
		s.kind = settleRefuse // a list that is a message of its own
	default:
		m.fill(s, t)
	}
	return s
}

func (m settlerMaker) fill(s *settler, t reflect.Type) {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
	case reflect.Pointer:
		s.element = m.make(t.Elem())
		s.kind = settlePointer
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return // empty bytes stay
		}
		s.element, s.size = m.make(t.Elem()), t.Elem().Size()
		s.kind = settleList
	case reflect.Map:
		s.element, s.typ = m.make(t.Elem()), t
		if t.Elem().Kind() == reflect.Slice {
			s.element = &settler{kind: settleRefuse} // no bytes come back as empty ones
		}
		s.kind = settleMap
	default:
		s.kind = settleRefuse
	}
}

func (m settlerMaker) fillStruct(s *settler, t reflect.Type) {
	s.kind = settleStruct // before the fields, which may hold t
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type == typeMetaType && len(m) == 1 {
			continue // the object's own is set from the kind
		}
		if tag := f.Tag.Get("protobuf"); !f.IsExported() || tag == "" || tag == "-" {
			s.fields = append(s.fields, settlerField{f.Offset, &settler{kind: settleRefuse}})
			continue
		}
		if e := m.make(f.Type); e.kind != settleNothing {
			s.fields = append(s.fields, settlerField{f.Offset, e})
		}
	}
	if len(s.fields) == 0 {
		s.kind = settleNothing
	}
}
