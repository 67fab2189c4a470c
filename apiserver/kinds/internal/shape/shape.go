// Package shape writes API objects the way upstream's error messages show them. Upstream validates Go types of its own,
// whose JSON has the names of Go fields and leaves nothing out; clients compare these texts, and people read them.
package shape

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Value is any value of an API type that marshals in upstream's shape.
type Value struct{ v any }

// Of wraps v.
func Of(v any) Value { return Value{v} }

// Errors gives the bad values of errors upstream's shape.
func Errors(errs field.ErrorList) field.ErrorList {
	for _, e := range errs {
		if shaped(e.BadValue) {
			e.BadValue = Of(e.BadValue)
		}
	}
	return errs
}

// shaped says whether a value has API structs in it.
func shaped(v any) bool {
	if v == nil {
		return false
	}
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	return apiStruct(t)
}

func apiStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && (strings.HasPrefix(t.PkgPath(), "k8s.io/api/") ||
		strings.HasPrefix(t.PkgPath(), "k8s.io/apiextensions-apiserver/") || strings.HasPrefix(t.PkgPath(), "k8s.io/kube-aggregator/"))
}

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	if v.v == nil {
		return []byte("null"), nil
	}
	return appendValue(nil, reflect.ValueOf(v.v))
}

var marshaler = reflect.TypeFor[json.Marshaler]()

func appendValue(b []byte, v reflect.Value) ([]byte, error) {
	t := v.Type()
	switch {
	case apiStruct(t):
		b = append(b, '{')
		b, _, err := appendFields(b, v, true)
		return append(b, '}'), err
	case t.Implements(marshaler):
	case t.Kind() == reflect.Pointer && !v.IsNil():
		return appendValue(b, v.Elem())
	case t.Kind() == reflect.Slice && !v.IsNil() && t.Elem().Kind() != reflect.Uint8:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendValue(b, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case t.Kind() == reflect.Map && !v.IsNil():
		return appendMap(b, v)
	}
	text, err := json.Marshal(v.Interface())
	return append(b, text...), err
}

func appendMap(b []byte, v reflect.Value) ([]byte, error) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(k.String())
		if err != nil {
			return nil, err
		}
		b = append(append(b, name...), ':')
		if b, err = appendValue(b, v.MapIndex(k)); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendFields writes the fields of a struct, those of embedded ones among them.
func appendFields(b []byte, v reflect.Value, first bool) ([]byte, bool, error) {
	var err error
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && apiStruct(f.Type) {
			if b, first, err = appendFields(b, v.Field(i), first); err != nil {
				return nil, first, err
			}
			continue
		}
		if f.Name == "TypeMeta" {
			// Upstream's own objects have no kind in them.
			continue
		}
		if f.Anonymous {
			// Metadata keeps its own names, without a level of its own.
			text, err := json.Marshal(v.Field(i).Interface())
			if err != nil {
				return nil, first, err
			}
			if inner := text[1 : len(text)-1]; len(inner) > 0 {
				if !first {
					b = append(b, ',')
				}
				b, first = append(b, inner...), false
			}
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(b, '"'), f.Name...), '"', ':')
		if b, err = appendValue(b, v.Field(i)); err != nil {
			return nil, first, err
		}
	}
	return b, first, nil
}

// Plain shows a value in the shape that clients write it in: upstream's newer rules look at the versioned types.
func Plain(v any) any { return plain{v} }

type plain struct{ v any }

func (p plain) MarshalJSON() ([]byte, error) { return json.Marshal(p.v) }
