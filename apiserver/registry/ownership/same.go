package ownership

import (
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// same functions say whether two values are equal as JSON would have them: an empty list is not an absent one unless
// the tag leaves both out, times have the precision that is written, and quantities are equal if they read the same.
type sameFunc = func(a, b reflect.Value) bool

var sames sync.Map // reflect.Type -> sameFunc

var (
	timeType      = reflect.TypeFor[metav1.Time]()
	microTimeType = reflect.TypeFor[metav1.MicroTime]()
	quantityType  = reflect.TypeFor[resource.Quantity]()
	intOrStrType  = reflect.TypeFor[intstr.IntOrString]()
)

// sameOf is the equality of a type without pointers around it.
func sameOf(typ reflect.Type) sameFunc {
	if f, ok := sames.Load(typ); ok {
		return f.(sameFunc)
	}
	// Types may be recursive: what is found while the equality is being made asks for it when it is used.
	var made sameFunc
	var wait sync.WaitGroup
	wait.Add(1)
	f, loaded := sames.LoadOrStore(typ, sameFunc(func(a, b reflect.Value) bool {
		wait.Wait()
		return made(a, b)
	}))
	if loaded {
		return f.(sameFunc)
	}
	made = makeSame(typ)
	sames.Store(typ, made)
	wait.Done()
	return made
}

func makeSame(typ reflect.Type) sameFunc {
	switch typ {
	case timeType:
		return func(a, b reflect.Value) bool {
			x, y := a.Addr().Interface().(*metav1.Time), b.Addr().Interface().(*metav1.Time)
			return x.IsZero() && y.IsZero() || !x.IsZero() && !y.IsZero() && x.Unix() == y.Unix()
		}
	case microTimeType:
		return func(a, b reflect.Value) bool {
			x, y := a.Addr().Interface().(*metav1.MicroTime), b.Addr().Interface().(*metav1.MicroTime)
			return x.IsZero() && y.IsZero() || !x.IsZero() && !y.IsZero() && x.UnixMicro() == y.UnixMicro()
		}
	case quantityType:
		return func(a, b reflect.Value) bool {
			x, y := a.Interface().(resource.Quantity), b.Interface().(resource.Quantity)
			return x.Format == y.Format && x.Cmp(y) == 0 || x.String() == y.String()
		}
	case intOrStrType:
		return func(a, b reflect.Value) bool {
			x, y := a.Interface().(intstr.IntOrString), b.Interface().(intstr.IntOrString)
			return x.Type == y.Type && (x.Type == intstr.Int && x.IntVal == y.IntVal || x.Type == intstr.String && x.StrVal == y.StrVal)
		}
	}
	if typ.Kind() == reflect.Pointer {
		return sameDeref(sameOf(typ.Elem()))
	}
	if value.TypeReflectEntryOf(typ).CanConvertToUnstructured() || value.TypeReflectEntryOf(reflect.PointerTo(typ)).CanConvertToUnstructured() {
		return sameConverted
	}
	switch typ.Kind() {
	case reflect.Struct:
		return sameStruct(typ)
	case reflect.Map:
		return sameMap(typ)
	case reflect.Slice:
		return sameSlice(typ)
	case reflect.String:
		return func(a, b reflect.Value) bool { return a.String() == b.String() }
	case reflect.Bool:
		return func(a, b reflect.Value) bool { return a.Bool() == b.Bool() }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(a, b reflect.Value) bool { return a.Int() == b.Int() }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(a, b reflect.Value) bool { return a.Uint() == b.Uint() }
	case reflect.Float32, reflect.Float64:
		return func(a, b reflect.Value) bool { return a.Float() == b.Float() }
	}
	return sameConverted
}

// sameDeref compares what two pointers point to; nil is null.
func sameDeref(same sameFunc) sameFunc {
	return func(a, b reflect.Value) bool {
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	}
}

func sameStruct(typ reflect.Type) sameFunc {
	entries := structFields(typ)
	parts := make([]*planField, len(entries))
	sames := make([]sameFunc, len(entries))
	for i, e := range entries {
		parts[i] = &planField{get: e.entry, direct: e.direct, canOmit: e.canOmit}
		sames[i] = sameOf(e.typ)
	}
	return func(a, b reflect.Value) bool {
		for i, f := range parts {
			x, inA := f.of(a)
			y, inB := f.of(b)
			if inA != inB || inA && !sames[i](x, y) {
				return false
			}
		}
		return true
	}
}

func sameMap(typ reflect.Type) sameFunc {
	same := sameOf(typ.Elem())
	return func(a, b reflect.Value) bool {
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for iter := a.MapRange(); iter.Next(); {
			other := b.MapIndex(iter.Key())
			if !other.IsValid() || !same(addressable(iter.Value()), addressable(other)) {
				return false
			}
		}
		return true
	}
}

func sameSlice(typ reflect.Type) sameFunc {
	same := sameOf(typ.Elem())
	return func(a, b reflect.Value) bool {
		if a.IsNil() != b.IsNil() || a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
}

// sameConverted goes the long way for types that write themselves.
func sameConverted(a, b reflect.Value) bool {
	x, errX := value.NewValueReflect(addressable(a).Addr().Interface())
	y, errY := value.NewValueReflect(addressable(b).Addr().Interface())
	return errX == nil && errY == nil && value.Equals(x, y)
}

// addressable is v, or a copy of it that has an address (the values of maps have none).
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	return out
}
