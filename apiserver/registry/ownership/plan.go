package ownership

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// plan says how to walk values of one Go type by one type of the schema. It is made once.
type plan struct {
	shape shape
	// leaf compares what is owned as a whole.
	same func(a, b reflect.Value) bool
	// fields of a struct, in the struct's order; sorted by name.
	fields, sorted []*planField
	// elem is the plan of the values of a map or the items of a list.
	elem *plan
	// keys tell the items of a keyed list apart.
	keys []planKey
	// silent: the node itself is never owned (metadata).
	silent bool
	// loose: there is no value that the library would refuse, so that one that has not changed need not be looked at.
	loose bool
}

type shape uint8

const (
	// leaf is owned as a whole: scalars, and atomic structs, maps and lists.
	leaf shape = iota
	// fields is a struct whose fields are owned one by one.
	fields
	// table is a map whose values are owned one by one.
	table
	// set is a list whose items are owned by their values.
	set
	// keyed is a list whose items are owned by their keys.
	keyed
	// foreign is what has no Go fields to walk along (RawExtension): left to the library.
	foreign
)

type planField struct {
	element fieldpath.PathElement
	// key is the element as it begins in fieldsV1: "f:name":
	key []byte
	get *value.FieldCacheEntry
	// direct is the index of the field where it is not in an inlined struct, else -1.
	direct int
	plan   *plan
	// canOmit says that the field's tag lets it be left out.
	canOmit bool
}

type planKey struct {
	name     string
	field    *planField
	fallback any
}

// stripped are the fields of every object that nobody owns.
var stripped = map[string]bool{
	"name": true, "namespace": true, "creationTimestamp": true, "selfLink": true, "uid": true, "clusterName": true,
	"generation": true, "managedFields": true, "resourceVersion": true,
}

// planner makes the plans of one schema.
type planner struct {
	schema *schema.Schema
	made   map[planOf]*plan
	err    error
}

type planOf struct {
	typ  reflect.Type
	name string
}

// planObject is the plan of a whole API object.
func planObject(s *schema.Schema, typ reflect.Type, ref schema.TypeRef) (*plan, error) {
	p := &planner{schema: s, made: map[planOf]*plan{}}
	root := p.plan(typ, ref)
	if p.err != nil {
		return nil, p.err
	}
	root.loosen(map[*plan]bool{})
	if root.shape != fields {
		return nil, fmt.Errorf("%s is no struct in the schema", typ)
	}
	// A copy: a type of the same name further down is another matter.
	top := *root
	top.silent = true
	top.fields = nil
	for _, f := range root.fields {
		switch name := *f.element.FieldName; name {
		case "apiVersion", "kind":
			continue
		case "metadata":
			meta := *f
			inner := *f.plan
			inner.silent = true
			inner.fields = slices.DeleteFunc(slices.Clone(inner.fields), func(f *planField) bool { return stripped[*f.element.FieldName] })
			inner.sorted = byName(inner.fields)
			meta.plan = &inner
			f = &meta
		}
		top.fields = append(top.fields, f)
	}
	top.sorted = byName(top.fields)
	return &top, nil
}

// loosen finds the plans that are loose: those of lists whose items have keys are not, nor what holds one. A type that holds
// itself counts as doing so.
func (p *plan) loosen(seen map[*plan]bool) bool {
	if seen[p] {
		return p.loose
	}
	seen[p] = true
	loose := p.shape == leaf || p.shape == fields || p.shape == table
	for _, f := range p.fields {
		loose = f.plan.loosen(seen) && loose
	}
	if p.elem != nil {
		loose = p.elem.loosen(seen) && loose
	}
	p.loose = loose
	return loose
}

func (p *planner) plan(typ reflect.Type, ref schema.TypeRef) *plan {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	key := planOf{typ, "inlined"}
	if ref.NamedType != nil {
		key.name = *ref.NamedType
		if ref.ElementRelationship != nil {
			key.name += " " + string(*ref.ElementRelationship)
		}
	} else {
		// Inlined types are not recursive, and not comparable.
		key = planOf{}
	}
	if made := p.made[key]; made != nil && key.typ != nil {
		return made
	}
	out := &plan{}
	if key.typ != nil {
		p.made[key] = out
	}
	atom, ok := p.schema.Resolve(ref)
	if !ok {
		p.err = fmt.Errorf("the schema has no type %s for %s", key.name, typ)
		return out
	}
	p.fill(out, typ, atom)
	return out
}

func (p *planner) fill(out *plan, typ reflect.Type, atom schema.Atom) {
	custom := value.TypeReflectEntryOf(typ).CanConvertToUnstructured() || value.TypeReflectEntryOf(reflect.PointerTo(typ)).CanConvertToUnstructured()
	switch {
	case custom && atom.Map == nil && atom.List == nil:
		out.shape, out.same = leaf, sameOf(typ)
	case custom:
		out.shape, out.same = foreign, sameOf(typ)
	case typ.Kind() == reflect.Interface:
		out.shape, out.same = foreign, sameOf(typ)
	case typ.Kind() == reflect.Struct && atom.Map != nil:
		p.fillStruct(out, typ, atom.Map)
	case typ.Kind() == reflect.Map && atom.Map != nil:
		out.shape, out.same = table, sameOf(typ)
		if atom.Map.ElementRelationship == schema.Atomic {
			out.shape = leaf
			return
		}
		out.elem = p.plan(typ.Elem(), atom.Map.ElementType)
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8 && atom.List != nil:
		p.fillList(out, typ, atom.List)
	case atom.Scalar != nil:
		out.shape, out.same = leaf, sameOf(typ)
	default:
		p.err = fmt.Errorf("the schema does not fit %s", typ)
	}
}

func (p *planner) fillStruct(out *plan, typ reflect.Type, m *schema.Map) {
	out.shape, out.same = fields, sameOf(typ)
	if m.ElementRelationship == schema.Atomic {
		out.shape = leaf
		return
	}
	for _, entry := range structFields(typ) {
		f := &planField{get: entry.entry, direct: entry.direct, canOmit: entry.canOmit}
		name := entry.entry.JsonName
		f.element.FieldName = &name
		f.key, _ = quoted("f:" + name)
		ref := m.ElementType
		if declared, ok := m.FindField(name); ok {
			ref = declared.Type
		}
		if ref == (schema.TypeRef{}) {
			// Not in the schema: the library refuses such an object, if the field is there.
			f.plan = &plan{shape: foreign, same: func(_, _ reflect.Value) bool { return false }}
		} else {
			f.plan = p.plan(entry.typ, ref)
		}
		out.fields = append(out.fields, f)
	}
	out.sorted = byName(out.fields)
}

func byName(fields []*planField) []*planField {
	return slices.SortedFunc(slices.Values(fields), func(a, b *planField) int {
		return strings.Compare(*a.element.FieldName, *b.element.FieldName)
	})
}

type structField struct {
	entry   *value.FieldCacheEntry
	typ     reflect.Type
	direct  int
	canOmit bool
}

// structFields are the fields of a struct as JSON has them, in the order of the struct.
func structFields(typ reflect.Type) []structField {
	byName := value.TypeReflectEntryOf(typ).Fields()
	var out []structField
	var collect func(t reflect.Type, top bool)
	collect = func(t reflect.Type, top bool) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && name == "" {
				inner := f.Type
				if inner.Kind() == reflect.Pointer {
					inner = inner.Elem()
				}
				if inner.Kind() == reflect.Struct {
					collect(inner, false)
				}
				continue
			}
			if name == "" {
				name = f.Name
			}
			entry := byName[name]
			if name == "-" || f.PkgPath != "" || entry == nil {
				continue
			}
			direct := -1
			if top {
				direct = i
			}
			out = append(out, structField{entry, f.Type, direct, strings.Contains(options, "omit")})
		}
	}
	collect(typ, true)
	return out
}

func (p *planner) fillList(out *plan, typ reflect.Type, l *schema.List) {
	out.same = sameOf(typ)
	if l.ElementRelationship != schema.Associative {
		out.shape = leaf
		return
	}
	out.elem = p.plan(typ.Elem(), l.ElementType)
	if len(l.Keys) == 0 {
		out.shape = set
		if out.elem.shape != leaf || !isScalar(typ.Elem()) {
			out.shape = foreign
		}
		return
	}
	out.shape = keyed
	item := typ.Elem()
	for item.Kind() == reflect.Pointer {
		item = item.Elem()
	}
	atom, _ := p.schema.Resolve(l.ElementType)
	if atom.Map == nil || item.Kind() != reflect.Struct {
		out.shape = foreign
		return
	}
	for _, name := range slices.Sorted(slices.Values(l.Keys)) {
		key := planKey{name: name}
		if declared, ok := atom.Map.FindField(name); ok {
			key.fallback = declared.Default
		}
		for _, entry := range structFields(item) {
			if entry.entry.JsonName == name {
				key.field = &planField{get: entry.entry, direct: entry.direct, canOmit: entry.canOmit}
			}
		}
		if key.field == nil {
			out.shape = foreign
			return
		}
		out.keys = append(out.keys, key)
	}
}

func isScalar(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64:
		return !value.TypeReflectEntryOf(t).CanConvertToUnstructured()
	}
	return false
}

// of is the value of a field; present says whether JSON would have it.
func (f *planField) of(v reflect.Value) (field reflect.Value, present bool) {
	if f.direct >= 0 {
		field = v.Field(f.direct)
	} else {
		field = f.get.GetFrom(v)
	}
	return field, !f.canOmit || !f.get.CanOmit(field)
}
