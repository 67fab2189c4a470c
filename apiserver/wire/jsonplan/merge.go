package jsonplan

import (
	"reflect"
	"strconv"
	"unsafe"
)

// Merge applies a JSON merge patch, or a strategic merge patch without directives, to what obj points to, which is the
// caller's alone. What is left of obj where it answers false is not to be used.
func Merge(obj any, patch []byte, strategic bool) bool {
	p, at := objectOf(obj)
	if p == nil {
		return false
	}
	d := &decoder{data: string(patch), patch: true, strategic: strategic}
	return d.next() == '{' && d.structure(p, at) && d.end()
}

// Names are the fields at the top of a JSON object. It answers false for what is none, and may do so, or not, for an object
// with mistakes in it.
func Names(data []byte) (names []string, ok bool) {
	d := &decoder{data: string(data)}
	if !d.take('{') {
		return nil, false
	}
	if d.next() == '}' {
		return nil, true
	}
	for {
		name, ok := d.text()
		if !ok || !d.take(':') {
			return nil, false
		}
		names = append(names, name)
		if _, ok := d.skip(); !ok {
			return nil, false
		}
		more, ok := d.more('}')
		if !more {
			return names, ok
		}
	}
}

// mergeList merges the elements of a list by a key: those that are there are changed, the others added.
func (d *decoder) mergeList(p *plan, at unsafe.Pointer, f *field) bool {
	s := (*slice)(at)
	if p.elem.shape != structure || s.data != nil && s.len == 0 {
		return false
	}
	if s.len == 0 {
		return d.list(p, at) // taken as it comes
	}
	index, known := p.elem.byName[f.merge]
	if !known {
		return false
	}
	key := &p.elem.fields[index]
	places := make(map[string]int, s.len+4)
	for i := range s.len {
		k, ok := key.text(s.at(i, p.elem.size))
		if _, twice := places[k]; !ok || twice {
			return false // the libraries change the first one of them, and sort them
		}
		places[k] = i
	}
	before := s.len
	order, ok := d.mergeElements(p, s, f.merge, places)
	return ok && p.arrange(s, before, order)
}

// mergeElements reads the patch's elements, and answers their places in the list, in the patch's order.
func (d *decoder) mergeElements(p *plan, s *slice, key string, places map[string]int) (order []int, ok bool) {
	if !d.take('[') || d.deep == mostDeep {
		return nil, false
	}
	d.deep++
	defer func() { d.deep-- }()
	if d.next() == ']' {
		d.pos++
		return nil, true
	}
	named := make(map[string]bool, 4)
	for {
		k, ok := d.peek(key)
		if !ok || named[k] {
			return nil, false
		}
		named[k] = true
		i, there := places[k]
		if !there {
			i = s.len
			if s.len == s.cap {
				p.grow(s, s.len+s.len/2+1)
			}
			s.len++
			p.elem.clear(s.at(i, p.elem.size)) // what is behind a slice's end may be anything
		}
		was := d.inside
		d.inside = was || !there
		ok = d.structure(p.elem, s.at(i, p.elem.size))
		d.inside = was
		if !ok {
			return nil, false
		}
		order = append(order, i)
		if more, ok := d.more(']'); !more {
			return order, ok
		}
	}
}

// peek is the value that the object in front has under a name, as field.text has it. The decoder stays where it is.
func (d *decoder) peek(name string) (string, bool) {
	ahead := decoder{data: d.data, pos: d.pos}
	if !ahead.take('{') {
		return "", false
	}
	for {
		ahead.next()
		n, ok := ahead.text()
		if !ok || !ahead.take(':') {
			return "", false
		}
		if n == name {
			if ahead.next() == '"' {
				s, ok := ahead.text()
				return `"` + s, ok
			}
			return ahead.number()
		}
		if _, ok := ahead.skip(); !ok {
			return "", false
		}
		if more, _ := ahead.more('}'); !more {
			return "", false
		}
	}
}

// text is a key's value in an element: a string with a quote in front, or a number. It is false for what would not be
// written, so that the element had no key.
func (f *field) text(element unsafe.Pointer) (string, bool) {
	at := unsafe.Add(element, f.offset)
	if f.omitEmpty && f.plan.empty(at) {
		return "", false
	}
	switch {
	case f.plan.shape == text:
		return `"` + *(*string)(at), true
	case f.plan.shape == integer && f.plan.signed:
		return strconv.FormatInt(reflect.NewAt(f.plan.typ, at).Elem().Int(), 10), true
	}
	return "", false
}

// arrange puts the elements of a merged list in order: those of the patch as the patch has them, and each of the others in
// front of the first that came behind it before. order are the patch's, before is how many there were.
func (p *plan) arrange(s *slice, before int, order []int) bool {
	patched := make([]bool, s.len)
	for _, i := range order {
		patched[i] = true
	}
	sorted := make([]int, 0, s.len)
	rest := order
	for i := range before {
		if patched[i] {
			continue
		}
		for len(rest) > 0 && !(rest[0] < before && i < rest[0]) {
			sorted = append(sorted, rest[0])
			rest = rest[1:]
		}
		sorted = append(sorted, i)
	}
	sorted = append(sorted, rest...)
	moved := false
	for to, from := range sorted {
		moved = moved || to != from
	}
	if !moved {
		return true
	}
	now := reflect.NewAt(p.typ, unsafe.Pointer(s)).Elem()
	fresh := reflect.MakeSlice(p.typ, s.len, s.len)
	for to, from := range sorted {
		fresh.Index(to).Set(now.Index(from))
	}
	now.Set(fresh)
	return true
}
