package ownership

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// fast is a Tracker that records plain writes by walking along a plan, and leaves to the library what is rare: applies,
// and objects in which a walk cannot tell what the library would say.
type fast struct {
	library
	plan        *plan
	version     string
	served      map[string]bool
	subresource string
	filter      fieldpath.Filter
	// skip is the filter as top-level fields, if it is no more than that.
	skip   []string
	simple bool
	sets   *parsedSets
	// blank is an empty object, which a walk only reads.
	blank atomic.Pointer[runtime.Object]
}

// newFast is nil if the kind cannot be walked: custom resources have no Go type.
func newFast(lib library, types managedfields.TypeConverter, kind *kinds.Kind, version *kinds.Version, subresource string, filter fieldpath.Filter) *fast {
	resets := resetPaths(kind, version, subresource)
	if kind.Custom || version.GVK != kind.GVK {
		// Objects would have to be converted to be walked.
		return nil
	}
	obj := version.New()
	obj.GetObjectKind().SetGroupVersionKind(version.GVK)
	typed, err := types.ObjectToTyped(obj)
	if err != nil {
		return nil
	}
	typ := reflect.TypeOf(obj).Elem()
	if typ.Kind() != reflect.Struct {
		return nil
	}
	plan, err := planObject(typed.Schema(), typ, typed.TypeRef())
	if err != nil {
		return nil
	}
	f := &fast{library: lib, plan: plan, skip: resets,
		simple:  !slices.ContainsFunc(resets, func(path string) bool { return strings.Contains(path, ".") }),
		version: version.GVK.GroupVersion().String(), subresource: subresource, filter: filter,
		served: map[string]bool{}, sets: &parsedSets{plan: plan}}
	for i := range kind.Served {
		f.served[kind.Served[i].GVK.GroupVersion().String()] = true
	}
	return f
}

// maxUpdaters is the number of owners by update above which the oldest are put together.
const maxUpdaters = 10

// owner is one entry of the managed fields.
type owner struct {
	metav1.ManagedFieldsEntry
	*parsedSet
	// fields replaces the parsed set once it has changed.
	fields *fieldpath.Set
}

func (o *owner) current() *fieldpath.Set {
	if o.fields != nil {
		return o.fields
	}
	return o.set
}

// is says whether two entries are of the same owner.
func (o *owner) is(manager string, operation metav1.ManagedFieldsOperationType, version, subresource string) bool {
	return o.Manager == manager && o.Operation == operation && o.Subresource == subresource &&
		(operation == metav1.ManagedFieldsOperationApply || o.APIVersion == version)
}

// Create implements Tracker.
func (f *fast) Create(empty func() runtime.Object, obj runtime.Object, manager string) runtime.Object {
	blank := f.blank.Load()
	if blank == nil {
		made := empty()
		blank = &made
		f.blank.Store(blank)
	}
	if f.record(*blank, obj, manager) {
		return obj
	}
	return f.library.Update(empty(), obj, manager)
}

// Update implements Tracker.
func (f *fast) Update(live, obj runtime.Object, manager string) runtime.Object {
	if f.record(live, obj, manager) {
		return obj
	}
	return f.library.Update(live, obj, manager)
}

// record does what the library's field manager does for an update. It is false, with nothing changed, where that has to
// be asked.
func (f *fast) record(live, obj runtime.Object, manager string) bool {
	liveMeta, err := meta.Accessor(live)
	if err != nil {
		return false
	}
	objMeta, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	owners, ok := f.owners(liveMeta, objMeta)
	if !ok {
		return false
	}
	if len(owners) == 0 && liveMeta.GetUID() != "" {
		// Nobody has ever been recorded, and an update is no time to begin.
		objMeta.SetManagedFields(nil)
		return true
	}
	if manager == "" {
		manager = "unknown"
	}
	if f.simple && len(owners) == 0 {
		return f.recordCreate(live, obj, objMeta, manager)
	}
	diff := f.plan.compare(live, obj)
	if diff.odd {
		return false
	}
	if f.filter != nil {
		for i := range diff.sets {
			diff.sets[i] = *f.filter.Filter(&diff.sets[i])
		}
	}
	if owners, ok = f.settle(owners, diff, manager); !ok {
		return false
	}
	entries, err := encode(owners)
	if err != nil {
		return false
	}
	objMeta.SetManagedFields(entries)
	return true
}

// recordCreate is record for an object that nobody owns anything of yet.
func (f *fast) recordCreate(live, obj runtime.Object, m metav1.Object, manager string) bool {
	fields, ok := f.plan.create(live, obj, f.skip)
	if !ok {
		return false
	}
	if fields == nil {
		m.SetManagedFields(nil)
		return true
	}
	now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	m.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: f.version, Subresource: f.subresource,
		Time: &now, FieldsType: "FieldsV1", FieldsV1: fields,
	}})
	return true
}

// settle takes from all owners what the update changed, and gives it to the updater.
func (f *fast) settle(owners []*owner, diff *comparison, manager string) ([]*owner, bool) {
	if !diff.empty() {
		changed := diff.sets[modified].Union(&diff.sets[added])
		for _, o := range owners {
			have := o.current()
			if taken := have.Intersection(changed); !taken.Empty() {
				have = have.Difference(taken)
				o.fields = have
			}
			if !diff.sets[removed].Empty() {
				if rest := have.Difference(&diff.sets[removed]); rest.Size() != have.Size() {
					o.fields = rest
				}
			}
		}
		if !changed.Empty() {
			now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
			owners = f.give(owners, changed, manager, now)
		}
	}
	owners = slices.DeleteFunc(owners, func(o *owner) bool { return o.current().Empty() })
	updaters := 0
	for _, o := range owners {
		if o.Operation == metav1.ManagedFieldsOperationUpdate {
			updaters++
		}
	}
	return owners, updaters <= maxUpdaters
}

func (f *fast) give(owners []*owner, changed *fieldpath.Set, manager string, now metav1.Time) []*owner {
	for _, o := range owners {
		if o.is(manager, metav1.ManagedFieldsOperationUpdate, f.version, f.subresource) {
			o.Time = &now
			o.fields = changed.Union(o.current())
			if o.parsedSet != nil && o.fields.Equals(o.set) {
				// What was taken from the owner itself came back: the bytes are as they were.
				o.fields = nil
			}
			return owners
		}
	}
	return append(owners, &owner{fields: changed, ManagedFieldsEntry: metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: f.version, Subresource: f.subresource,
		Time: &now, FieldsType: "FieldsV1",
	}})
}

// owners are the entries that the update goes by: those that the client sent, or those that are there if it sent none
// or none that can be read, or came in through a subresource.
func (f *fast) owners(live, obj metav1.Object) ([]*owner, bool) {
	if f.subresource == "" {
		sent := obj.GetManagedFields()
		if isReset(sent) {
			return nil, true
		}
		if owners, ok, valid := f.read(sent); !ok {
			return nil, false
		} else if valid && len(owners) > 0 {
			return owners, true
		}
	}
	owners, ok, valid := f.read(live.GetManagedFields())
	if !valid {
		return nil, ok
	}
	return owners, ok
}

// isReset says that a client wants all owners forgotten: [] or [{}].
func isReset(entries []metav1.ManagedFieldsEntry) bool {
	if len(entries) == 0 {
		return entries != nil
	}
	return len(entries) == 1 && entries[0] == metav1.ManagedFieldsEntry{}
}

// read parses entries. ok is false if the library has to be asked, valid if it would refuse them.
func (f *fast) read(entries []metav1.ManagedFieldsEntry) (owners []*owner, ok, valid bool) {
	for i := range entries {
		e := &entries[i]
		if e.Operation != metav1.ManagedFieldsOperationApply && e.Operation != metav1.ManagedFieldsOperationUpdate ||
			e.APIVersion == "" || e.FieldsType != "FieldsV1" {
			return nil, true, false
		}
		for _, other := range owners {
			if other.is(e.Manager, e.Operation, e.APIVersion, e.Subresource) {
				return nil, false, true
			}
		}
		parsed, err := f.sets.get(e.FieldsV1)
		if err != nil {
			return nil, true, false
		}
		switch {
		case e.APIVersion == f.version:
			if !parsed.settled {
				// The schema has changed since the set was written.
				return nil, false, true
			}
		default:
			// Fields of another version have to be compared there; those of one that is no more are dropped.
			return nil, false, true
		}
		entry := *e
		owners = append(owners, &owner{ManagedFieldsEntry: entry, parsedSet: parsed})
	}
	return owners, true, true
}

// encode writes the entries down, in the library's order.
func encode(owners []*owner) ([]metav1.ManagedFieldsEntry, error) {
	if len(owners) == 0 {
		return nil, nil
	}
	out := make([]metav1.ManagedFieldsEntry, len(owners))
	for i, o := range owners {
		out[i] = o.ManagedFieldsEntry
		if o.fields == nil {
			out[i].FieldsV1 = o.encoded
			continue
		}
		data, err := o.fields.ToJSON()
		if err != nil {
			return nil, err
		}
		out[i].FieldsV1 = metav1.NewFieldsV1(string(data))
	}
	slices.SortFunc(out, func(a, b metav1.ManagedFieldsEntry) int {
		if c := strings.Compare(string(a.Operation), string(b.Operation)); c != 0 {
			return c
		}
		if x, y := seconds(a.Time), seconds(b.Time); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		if c := strings.Compare(a.Manager, b.Manager); c != 0 {
			return c
		}
		if c := strings.Compare(a.APIVersion, b.APIVersion); c != 0 {
			return c
		}
		return strings.Compare(a.Subresource, b.Subresource)
	})
	return out, nil
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// parsedSets keeps sets by the bytes that they were read from: objects of one template have the same bytes, and one
// object has them again and again.
type parsedSets struct {
	plan *plan
	mu   sync.RWMutex
	sets map[string]*parsedSet
}

// parsedSet is shared and never changed.
type parsedSet struct {
	set     *fieldpath.Set
	encoded *metav1.FieldsV1
	// settled says that no node below an atomic one is in the set, as would be if the schema had changed.
	settled bool
}

// maxParsed bounds the memory of parsedSets: some kilobytes each.
const maxParsed = 2048

func (p *parsedSets) get(fields *metav1.FieldsV1) (*parsedSet, error) {
	raw := []byte("{}")
	if fields != nil {
		raw = fields.GetRawBytes()
	}
	p.mu.RLock()
	known := p.sets[string(raw)] // without a copy
	p.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	set := &fieldpath.Set{}
	if err := set.FromJSON(bytes.NewReader(raw)); err != nil {
		return nil, err
	}
	data, err := set.ToJSON()
	if err != nil {
		return nil, err
	}
	parsed := &parsedSet{set: set, encoded: metav1.NewFieldsV1(string(data)), settled: settled(p.plan, set)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sets == nil || len(p.sets) >= maxParsed {
		p.sets = map[string]*parsedSet{}
	}
	p.sets[string(raw)] = parsed
	return parsed, nil
}

// settled says that a set is one that this schema could have made.
func settled(p *plan, set *fieldpath.Set) bool {
	ok := true
	set.Children.Iterate(func(pe fieldpath.PathElement) {
		if !ok {
			return
		}
		below, has := set.Children.Get(pe)
		if !has {
			return
		}
		var next *plan
		switch p.shape {
		case leaf, foreign:
			ok = false
			return
		case fields:
			for _, f := range p.fields {
				if pe.FieldName != nil && *f.element.FieldName == *pe.FieldName {
					next = f.plan
				}
			}
		default:
			next = p.elem
		}
		if next == nil {
			// A field that the plan leaves out, or that is not in the schema.
			return
		}
		ok = settled(next, below)
	})
	return ok
}
