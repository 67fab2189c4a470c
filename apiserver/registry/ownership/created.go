package ownership

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
// come to own. It is nil if there are none; ok is false where the library has to be asked.
func (p *plan) create(empty, obj any, skip []string) (fields *metav1.FieldsV1, ok bool) {
	c := creations.Get().(*creation)
	defer creations.Put(c)
	c.out, c.odd = append(c.out[:0], '{'), false
	l, r := reflect.ValueOf(empty).Elem(), reflect.ValueOf(obj).Elem()
	c.structFields(p, l, r, skip)
	c.out = append(c.out, '}')
	if c.odd || len(c.out) == len("{}") {
		return nil, !c.odd
	}
	fields = &metav1.FieldsV1{}
	fields.SetRawBytes(c.out) // a copy
	return fields, true
}

// creations keep their memory from one object to the next.
var creations = sync.Pool{New: func() any { return new(creation) }}

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
	var room [128]byte
	for _, k := range keys {
		if name := k.String(); plainText(name) {
			c.node(append(append(append(room[:0], `"f:`...), name...), `":`...), p.elem, reflect.Value{}, addressable(r.MapIndex(k)))
			continue
		}
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
	if p.shape == keyed && c.keyedItems(p, r) {
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

// keyedItems writes the items of a list whose keys are plain. It is false, and nothing is written, where they are not.
func (c *creation) keyedItems(p *plan, list reflect.Value) bool {
	type element struct {
		keys keyValues
		item reflect.Value
	}
	var room [8]element
	elements := room[:0]
	for i := range list.Len() {
		item := list.Index(i)
		keys, ok := p.plainKeys(deref(item))
		if !ok {
			return false
		}
		elements = append(elements, element{keys, item})
	}
	slices.SortFunc(elements, func(a, b element) int { return a.keys.compare(&b.keys) })
	for i := range elements {
		var name [128]byte
		c.node(elements[i].keys.name(name[:0], p), p.elem, reflect.Value{}, elements[i].item)
	}
	return true
}

// keyValues are the keys of an item, in the order of their names: texts, or numbers where there is none.
type keyValues struct {
	text   [2]string
	number [2]int64
	isText [2]bool
	n      int
}

// plainKeys are the keys of an item if there are no more than two, all of them are there, and none has to be escaped.
func (p *plan) plainKeys(item reflect.Value) (k keyValues, ok bool) {
	if len(p.keys) > len(k.text) {
		return k, false
	}
	for _, key := range p.keys {
		v, present := key.field.of(item)
		if !present {
			if key.fallback == nil {
				return k, false
			}
			v = reflect.ValueOf(key.fallback)
		}
		switch v = deref(v); v.Kind() {
		case reflect.String:
			if k.text[k.n] = v.String(); !plainText(k.text[k.n]) {
				return k, false
			}
			k.isText[k.n] = true
		case reflect.Int, reflect.Int32, reflect.Int64:
			k.number[k.n] = v.Int()
		default:
			return k, false
		}
		k.n++
	}
	return k, true
}

// plainText says that a text is written as it is in JSON, and once more in a name in JSON.
func plainText(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

func (k *keyValues) compare(other *keyValues) int {
	for i := range k.n {
		c := strings.Compare(k.text[i], other.text[i])
		if !k.isText[i] {
			c = cmp.Compare(k.number[i], other.number[i])
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// name is the key of an item in fieldsV1, with its colon: "k:{\"name\":\"web\"}":
func (k *keyValues) name(b []byte, p *plan) []byte {
	b = append(b, `"k:{`...)
	for i := range k.n {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `\"`...), p.keys[i].name...), `\":`...)
		if k.isText[i] {
			b = append(append(append(b, `\"`...), k.text[i]...), `\"`...)
		} else {
			b = strconv.AppendInt(b, k.number[i], 10)
		}
	}
	return append(b, `}":`...)
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
