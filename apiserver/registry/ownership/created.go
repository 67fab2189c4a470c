package ownership

import (
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// creation writes the fields of a new object down as they are walked, without a set in between: nobody owned anything
// before, so there is nothing to compare with or to take away.
type creation struct {
	out []byte
	// odd is that of comparison.
	odd bool
}

// create is the fieldsV1 of an object that was made out of an empty one; skip names top-level fields that the writer does not
// come to own. ok is false where the library has to be asked.
func (p *plan) create(empty, obj any, skip []string) (fields string, ok bool) {
	c := &creation{out: make([]byte, 0, 1024)}
	l, r := reflect.ValueOf(empty).Elem(), reflect.ValueOf(obj).Elem()
	c.out = append(c.out, '{')
	c.structFields(p, l, r, skip)
	c.out = append(c.out, '}')
	return string(c.out), !c.odd
}

// next separates an element from the one before it.
func (c *creation) next() {
	if c.out[len(c.out)-1] != '{' {
		c.out = append(c.out, ',')
	}
}

// node writes what becomes of one element; key is its name, quoted and with its colon. l is what the empty object has there,
// which for most fields is nothing.
func (c *creation) node(key []byte, p *plan, l, r reflect.Value) {
	if c.odd || !r.IsValid() {
		return
	}
	l, r = deref(l), deref(r)
	start := len(c.out)
	if p.shape == leaf || p.shape == foreign || !container(r) && !container(l) {
		c.leaf(key, p, l, r)
		return
	}
	c.next()
	c.out = append(c.out, key...)
	c.out = append(c.out, '{')
	open := len(c.out)
	if !l.IsValid() && !p.silent {
		c.out = append(c.out, `".":{}`...)
	}
	own := len(c.out)
	var any bool
	switch p.shape {
	case fields:
		any = c.structFields(p, l, r, nil)
	case table:
		any = c.table(p, l, r)
	case set, keyed:
		any = c.list(p, l, r)
	}
	switch {
	case c.odd:
	case !any:
		// Empty on both sides: the container itself is what is owned.
		c.out = c.out[:start]
		c.leaf(key, p, l, r)
	case len(c.out) == open:
		c.out = c.out[:start]
	case len(c.out) == own && own > open:
		// Nothing below it is owned, though there is something: it stands for itself.
		c.out = append(c.out[:open], '}')
	default:
		c.out = append(c.out, '}')
	}
}

func (c *creation) leaf(key []byte, p *plan, l, r reflect.Value) {
	switch {
	case p.silent:
		return
	case !l.IsValid():
	case isNull(l) || isNull(r):
		if isNull(l) == isNull(r) {
			return
		}
	case p.same(l, r):
		return
	}
	if p.shape == foreign {
		c.odd = true
		return
	}
	c.next()
	c.out = append(c.out, key...)
	c.out = append(c.out, "{}"...)
}

func (c *creation) structFields(p *plan, l, r reflect.Value, skip []string) (any bool) {
	hasL, hasR := container(l), container(r)
	for _, f := range p.sorted {
		if skip != nil && slices.Contains(skip, *f.element.FieldName) {
			continue
		}
		var x, y reflect.Value
		if hasL {
			if v, present := f.of(l); present {
				x = v
			}
		}
		if hasR {
			if v, present := f.of(r); present {
				y = v
			}
		}
		if x.IsValid() || y.IsValid() {
			any = true
			c.node(f.key, f.plan, x, y)
		}
	}
	return any
}

func (c *creation) table(p *plan, l, r reflect.Value) (any bool) {
	if container(l) && l.Len() > 0 {
		c.odd = true // an empty object with something in a map
		return true
	}
	if !container(r) || r.Len() == 0 {
		return false
	}
	keys := r.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		key, ok := quoted("f:" + k.String())
		if !ok {
			c.odd = true
			return true
		}
		c.node(key, p.elem, reflect.Value{}, addressable(r.MapIndex(k)))
	}
	return true
}

func (c *creation) list(p *plan, l, r reflect.Value) (any bool) {
	if container(l) && l.Len() > 0 {
		c.odd = true
		return true
	}
	if !container(r) || r.Len() == 0 {
		return false
	}
	var same comparison
	same.identities(p, r)
	if c.odd = same.odd; c.odd {
		return true
	}
	type element struct {
		pe   fieldpath.PathElement
		item reflect.Value
	}
	elements := make([]element, r.Len())
	for i := range elements {
		at := place{list: p, item: r.Index(i)}
		elements[i] = element{at.pathElement(), r.Index(i)}
	}
	slices.SortFunc(elements, func(a, b element) int { return a.pe.Compare(b.pe) })
	for _, e := range elements {
		name, err := fieldpath.SerializePathElement(e.pe)
		key, ok := quoted(name)
		if err != nil || !ok {
			c.odd = true
			return true
		}
		c.node(key, p.elem, reflect.Value{}, e.item)
	}
	return true
}

// quoted is a name as the key of a JSON object, with its colon. ok is false for characters that encoders write in
// more than one way.
func quoted(name string) (key []byte, ok bool) {
	key = make([]byte, 0, len(name)+8)
	key = append(key, '"')
	for _, char := range name {
		switch {
		case char == '"' || char == '\\':
			key = append(key, '\\', byte(char))
		case char < ' ' || char == 0x7f || char == utf8.RuneError || char == '\u2028' || char == '\u2029':
			return nil, false
		default:
			key = utf8.AppendRune(key, char)
		}
	}
	return append(key, '"', ':'), true
}
