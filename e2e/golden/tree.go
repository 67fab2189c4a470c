package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// JSON values are kept as encoding/json gives them, with numbers as they were written.

// parse reads exactly one value. What cannot be read after it does not count: the plain text "404 page not found" stands
// in the corpus as the number 404.
func parse(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	var rest any
	if d.Decode(&rest) == nil {
		return nil, errors.New("more than one value")
	}
	return v, nil
}

// format writes a value with sorted keys, without white space.
func format(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // values come from JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// clone copies a value deeply.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = clone(x)
		}
		return out
	}
	return v
}

// at finds a value by keys and (decimal) indexes; nil if there is none.
func at(v any, path ...string) any {
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func dotted(v any, path string) any { return at(v, strings.Split(path, ".")...) }

func text(v any) string {
	s, _ := v.(string)
	return s
}

func index(step any) (int, bool) {
	n, ok := step.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(n.String())
	return i, err == nil
}

// edit returns v after an edit. It may change v. Objects on the way are made, elements of lists are not.
func edit(v any, op string, path []any, value any) any {
	if len(path) == 0 {
		list, _ := v.([]any)
		switch {
		case op == "set":
			return value
		case op == "append":
			return append(list, value)
		case op == "copyFirst" && len(list) > 0:
			return append(list, clone(list[0]))
		}
		return v
	}
	if i, ok := index(path[0]); ok {
		list, _ := v.([]any)
		switch {
		case i >= len(list):
			return v
		case op == "remove" && len(path) == 1:
			return append(slices.Clone(list[:i]), list[i+1:]...)
		}
		list[i] = edit(list[i], op, path[1:], value)
		return list
	}
	object, ok := v.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	key := text(path[0])
	if op == "remove" && len(path) == 1 {
		delete(object, key)
		return object
	}
	object[key] = edit(object[key], op, path[1:], value)
	return object
}

// drop removes what a path leads to, in every element of the lists on the way.
func drop(v any, path ...string) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			drop(e, path...)
		}
	case map[string]any:
		if len(path) == 1 {
			delete(x, path[0])
		} else {
			drop(x[path[0]], path[1:]...)
		}
	}
}

// differences lists where two values differ, "-" being the first's and "+" the second's.
func differences(path string, a, b any) []string {
	const enough = 60
	var out []string
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		both := maps.Clone(am)
		maps.Copy(both, bm)
		for _, k := range slices.Sorted(maps.Keys(both)) {
			x, inA := am[k]
			y, inB := bm[k]
			switch {
			case len(out) > enough:
				return out
			case !inA:
				out = append(out, "+ "+path+"."+k+": "+short(y))
			case !inB:
				out = append(out, "- "+path+"."+k+": "+short(x))
			default:
				out = append(out, differences(path+"."+k, x, y)...)
			}
		}
		return out
	}
	al, aok := a.([]any)
	bl, bok := b.([]any)
	if aok && bok {
		for i := range max(len(al), len(bl)) {
			p := fmt.Sprintf("%s[%d]", path, i)
			switch {
			case len(out) > enough:
				return out
			case i >= len(al):
				out = append(out, "+ "+p+": "+short(bl[i]))
			case i >= len(bl):
				out = append(out, "- "+p+": "+short(al[i]))
			default:
				out = append(out, differences(p, al[i], bl[i])...)
			}
		}
		return out
	}
	if format(a) == format(b) {
		return nil
	}
	return []string{"- " + path + ": " + short(a), "+ " + path + ": " + short(b)}
}

func short(v any) string {
	s := format(v)
	if len(s) > 600 {
		s = s[:600] + "..."
	}
	return s
}
