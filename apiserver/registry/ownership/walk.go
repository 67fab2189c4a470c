package ownership

import (
	"reflect"
	"strconv"
	"unsafe"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// The three outcomes of a comparison.
const (
	added = iota
	modified
	removed
	outcomes
)

// comparison is what became of the fields of an object.
type comparison struct {
	sets [outcomes]fieldpath.Set
	// odd says that the walk met something that the library has to look at: a list whose items have the same keys, a
	// value of no known type.
	odd bool
	// spare are places to use again: a walk is in few at a time, and comes through hundreds.
	spare []*place
}

// enter is visit at a place below another one.
func (c *comparison) enter(p *plan, l, r reflect.Value, at place) {
	if p.shape == leaf && l.IsValid() && r.IsValid() {
		// Most of most objects stays as it is: equal leaves need no place.
		if x, y := deref(l), deref(r); !isNull(x) && !isNull(y) && p.same(x, y) {
			return
		}
	}
	var here *place
	if n := len(c.spare); n > 0 {
		here, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		here = new(place)
	}
	*here = at
	c.visit(p, l, r, here)
	c.spare = append(c.spare, here)
}

func (c *comparison) empty() bool {
	return c.sets[added].Empty() && c.sets[modified].Empty() && c.sets[removed].Empty()
}

// place is where the walk is: a path, of which the parts are made when a difference is found.
type place struct {
	up      *place
	element fieldpath.PathElement
	// key is the list's plan and item what tells the element, where it is not made yet.
	list *plan
	item reflect.Value
	// nodes are the sets for what is below this place.
	nodes [outcomes]*fieldpath.Set
}

func (c *comparison) mark(at *place, outcome int) {
	if at.up == nil {
		return
	}
	c.node(at.up, outcome).Members.Insert(at.pathElement())
}

func (c *comparison) node(at *place, outcome int) *fieldpath.Set {
	if at.nodes[outcome] == nil {
		if at.up == nil {
			at.nodes[outcome] = &c.sets[outcome]
		} else {
			at.nodes[outcome] = c.node(at.up, outcome).Children.Descend(at.pathElement())
		}
	}
	return at.nodes[outcome]
}

func (at *place) pathElement() fieldpath.PathElement {
	if at.list != nil {
		if at.list.shape == keyed {
			at.element = at.list.keyElement(at.item)
		} else {
			v := scalarValue(at.item)
			at.element.Value = &v
		}
		at.list = nil
	}
	return at.element
}

// compare walks two objects, of which the first may be empty.
func (p *plan) compare(live, obj any) *comparison {
	c := &comparison{}
	c.visit(p, reflect.ValueOf(live).Elem(), reflect.ValueOf(obj).Elem(), &place{})
	return c
}

// visit compares two values. The zero reflect.Value stands for an absent one; nil pointers, maps and lists are null.
func (c *comparison) visit(p *plan, l, r reflect.Value, at *place) {
	if c.odd {
		return
	}
	if oneAndTheSame(l, r) {
		c.check(p, r)
		return
	}
	l, r = deref(l), deref(r)
	switch p.shape {
	case leaf:
		c.leaf(p, l, r, at)
		return
	case foreign:
		// Equal, and there before: then nothing changed hands.
		if l.IsValid() && r.IsValid() && p.same(l, r) {
			return
		}
		c.odd = true
		return
	}
	any := false
	switch p.shape {
	case fields:
		any = c.fields(p, l, r, at)
	case table:
		any = c.table(p, l, r, at)
	case set, keyed:
		any = c.list(p, l, r, at)
	}
	switch {
	case c.odd:
	case !any:
		// Empty on both sides: the container itself is what is owned.
		c.leaf(p, l, r, at)
	case p.silent:
	case !l.IsValid():
		c.mark(at, added)
	case !r.IsValid():
		c.mark(at, removed)
	}
}

func (c *comparison) leaf(p *plan, l, r reflect.Value, at *place) {
	switch {
	case p.silent:
	case !l.IsValid() && !r.IsValid():
	case !l.IsValid():
		c.mark(at, added)
	case !r.IsValid():
		c.mark(at, removed)
	case isNull(l) || isNull(r):
		if isNull(l) != isNull(r) {
			c.mark(at, modified)
		}
	case !p.same(l, r):
		c.mark(at, modified)
	}
}

// oneAndTheSame says that two values are in the same memory: what an update leaves alone, it may share with what was there.
func oneAndTheSame(l, r reflect.Value) bool {
	if !l.IsValid() || !r.IsValid() || l.Kind() != r.Kind() {
		return false
	}
	switch l.Kind() {
	case reflect.Struct:
		if !l.CanAddr() || !r.CanAddr() || l.Type() != r.Type() {
			return false
		}
		// Or one is a plain copy of the other, so that all that they refer to is the same.
		x, y, size := l.Addr().UnsafePointer(), r.Addr().UnsafePointer(), l.Type().Size()
		return x == y || unsafe.String((*byte)(x), size) == unsafe.String((*byte)(y), size)
	case reflect.Pointer, reflect.Map:
		return !l.IsNil() && l.UnsafePointer() == r.UnsafePointer()
	case reflect.Slice:
		return l.Len() > 0 && l.Len() == r.Len() && l.UnsafePointer() == r.UnsafePointer()
	}
	return false
}

// check looks in a value that has not changed for what the library would refuse.
func (c *comparison) check(p *plan, v reflect.Value) {
	if p.loose || c.odd {
		return
	}
	if v = deref(v); !container(v) {
		return
	}
	switch p.shape {
	case fields:
		for _, f := range p.fields {
			if !f.plan.loose {
				if x, present := f.of(v); present {
					c.check(f.plan, x)
				}
			}
		}
	case table:
		for iter := v.MapRange(); iter.Next(); {
			c.check(p.elem, addressable(iter.Value()))
		}
	case set, keyed:
		c.identities(p, v)
		for i := range v.Len() {
			c.check(p.elem, v.Index(i))
		}
	case foreign:
		c.odd = c.odd || !p.same(v, v)
	}
}

// deref follows a pointer; a nil one stays, as null.
func deref(v reflect.Value) reflect.Value {
	if v.IsValid() && v.Kind() == reflect.Pointer && !v.IsNil() {
		return v.Elem()
	}
	return v
}

func isNull(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return v.IsNil()
	}
	return false
}

// container says whether there is something to descend into.
func container(v reflect.Value) bool { return v.IsValid() && !isNull(v) }

func (c *comparison) fields(p *plan, l, r reflect.Value, at *place) (any bool) {
	hasL, hasR := container(l), container(r)
	for _, f := range p.fields {
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
			c.enter(f.plan, x, y, place{up: at, element: f.element})
		}
	}
	return any
}

func (c *comparison) table(p *plan, l, r reflect.Value, at *place) (any bool) {
	hasL, hasR := container(l), container(r)
	element := func(k reflect.Value) fieldpath.PathElement {
		name := k.String()
		return fieldpath.PathElement{FieldName: &name}
	}
	if hasR {
		for iter := r.MapRange(); iter.Next(); {
			any = true
			var x reflect.Value
			if hasL {
				if x = l.MapIndex(iter.Key()); x.IsValid() {
					x = addressable(x)
				}
			}
			c.enter(p.elem, x, addressable(iter.Value()), place{up: at, element: element(iter.Key())})
		}
	}
	if hasL {
		for iter := l.MapRange(); iter.Next(); {
			any = true
			if !hasR || !r.MapIndex(iter.Key()).IsValid() {
				c.enter(p.elem, addressable(iter.Value()), reflect.Value{}, place{up: at, element: element(iter.Key())})
			}
		}
	}
	return any
}

// few is how long a list may be for its items to be looked for one by one.
const few = 12

func (c *comparison) list(p *plan, l, r reflect.Value, at *place) (any bool) {
	lefts, rights := c.identities(p, l), c.identities(p, r)
	if c.odd {
		return true
	}
	find := finder(lefts)
	matched := 0
	for j, id := range rights {
		i := j
		if i >= len(lefts) || lefts[i] != id {
			i = find(id)
		}
		var x reflect.Value
		if i >= 0 {
			x = l.Index(i)
			matched++
		}
		c.enter(p.elem, x, r.Index(j), place{up: at, list: p, item: r.Index(j)})
	}
	if matched < len(lefts) {
		find := finder(rights)
		for i, id := range lefts {
			if find(id) < 0 {
				c.enter(p.elem, l.Index(i), reflect.Value{}, place{up: at, list: p, item: l.Index(i)})
			}
		}
	}
	return len(lefts)+len(rights) > 0
}

// finder looks for the place of an identity in a list; -1 if there is none.
func finder(ids []string) func(string) int {
	if len(ids) <= few {
		return func(id string) int {
			for i := range ids {
				if ids[i] == id {
					return i
				}
			}
			return -1
		}
	}
	var index map[string]int
	return func(id string) int {
		if index == nil {
			index = make(map[string]int, len(ids))
			for i := range ids {
				index[ids[i]] = i
			}
		}
		if i, ok := index[id]; ok {
			return i
		}
		return -1
	}
}

// identities are what tells the items of a list apart, as text.
func (c *comparison) identities(p *plan, v reflect.Value) []string {
	if !container(v) || v.Len() == 0 {
		return nil
	}
	out := make([]string, v.Len())
	for i := range out {
		item := deref(v.Index(i))
		if isNull(item) {
			c.odd = true
			return nil
		}
		if p.shape == set {
			out[i] = scalarText(item)
			continue
		}
		if out[i] = p.keyText(item); out[i] == "" {
			// No key at all: the library refuses such an item.
			c.odd = true
			return nil
		}
	}
	find := finder(out)
	for i, id := range out {
		if find(id) != i {
			// The same key twice. finder's index has the last place of an identity, its search the first: either way one
			// of two differs from its own place.
			c.odd = true
			return nil
		}
	}
	return out
}

func (p *plan) keyText(item reflect.Value) string {
	if len(p.keys) == 1 {
		if v, present := p.keys[0].field.of(item); present && v.Kind() == reflect.String {
			return "=" + v.String()
		}
	}
	var b []byte
	for _, k := range p.keys {
		v, present := k.field.of(item)
		switch {
		case present:
			b = append(b, '=')
			b = append(b, scalarText(deref(v))...)
		case k.fallback != nil:
			b = append(b, '=')
			b = append(b, scalarText(reflect.ValueOf(k.fallback))...)
		default:
			b = append(b, '-')
			continue
		}
		b = append(b, 0)
	}
	for _, char := range b {
		if char != '-' {
			return string(b)
		}
	}
	return ""
}

func (p *plan) keyElement(item reflect.Value) fieldpath.PathElement {
	item = deref(item)
	key := make(value.FieldList, 0, len(p.keys))
	for _, k := range p.keys {
		v, present := k.field.of(item)
		switch {
		case present:
			key = append(key, value.Field{Name: k.name, Value: scalarValue(v)})
		case k.fallback != nil:
			key = append(key, value.Field{Name: k.name, Value: value.NewValueInterface(k.fallback)})
		}
	}
	return fieldpath.PathElement{Key: &key}
}

func scalarText(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return v.String()
}

func scalarValue(v reflect.Value) value.Value {
	v = deref(v)
	switch v.Kind() {
	case reflect.String:
		return value.NewValueInterface(v.String())
	case reflect.Bool:
		return value.NewValueInterface(v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return value.NewValueInterface(v.Int())
	}
	return value.NewValueInterface(v.Interface())
}
