package wire

import (
	"reflect"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Settle makes of an object that has been written what Decode would answer for the value that EncodeStored made of it:
// what goes through protobuf loses the difference between an empty list and none, and times their fractions. It answers
// false, and obj is then not to be used, where it cannot tell. That costs a sixth of decoding.
//
// It implements watchcache.Settler.
func (c *Codec) Settle(obj runtime.Object, revision int64) bool {
	if c.Text || c.kind.StoredJSON || c.stored.FromHub != nil || c.stored.ToHub != nil {
		return false
	}
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() || !settlerOf(v.Type().Elem()).settle(v.Elem()) {
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
}

type settlerField struct {
	index int
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

func (s *settler) settle(v reflect.Value) bool {
	switch s.kind {
	case settleStruct:
		for _, f := range s.fields {
			if !f.settle(v.Field(f.index)) {
				return false
			}
		}
	case settlePointer:
		return v.IsNil() || s.element.settle(v.Elem())
	case settleList:
		n := v.Len()
		if n == 0 {
			if !v.IsNil() {
				v.SetZero()
			}
			return true
		}
		if s.element.kind == settleNothing {
			return true
		}
		for i := range n {
			if !s.element.settle(v.Index(i)) {
				return false
			}
		}
	case settleMap:
		if v.Len() > 0 {
			// Values of maps cannot be changed where they are.
			return s.element.kind == settleNothing
		}
		if !v.IsNil() {
			v.SetZero()
		}
	case settleTime:
		t := v.Addr().Interface().(*metav1.Time)
		settleClock(&t.Time, 0)
	case settleMicroTime:
		t := v.Addr().Interface().(*metav1.MicroTime)
		settleClock(&t.Time, t.Nanosecond()/1000*1000)
	case settleRefuse:
		return false
	}
	return true
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
		s.element = m.make(t.Elem())
		s.kind = settleList
	case reflect.Map:
		s.element = m.make(t.Elem())
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
			s.fields = append(s.fields, settlerField{i, &settler{kind: settleRefuse}})
			continue
		}
		if e := m.make(f.Type); e.kind != settleNothing {
			s.fields = append(s.fields, settlerField{i, e})
		}
	}
	if len(s.fields) == 0 {
		s.kind = settleNothing
	}
}
