package watchcache

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Labels are an object's labels, in a quarter of a map's memory: sorted by name, and strings that many objects have are
// mostly shared. They are a labels.Labels, so that selectors take them.
type Labels struct{ pairs []pair }

// Fields are an object's selectable fields, kept in the same way. They are a fields.Fields.
type Fields struct{ pairs []pair }

type pair struct{ name, value *string }

// recent are strings that were seen lately, each at the place that its hash has. What many objects have is found here; what
// one object has alone takes the place of something else, which is put here again when it is next seen. Package unique
// would share all strings, but a new one costs it a weak pointer and a map's entry, which was a twentieth of a create.
var recent [1 << 12]atomic.Pointer[string]

var recentSeed = maphash.MakeSeed()

// intern is a string equal to s that does not hold more memory than its own.
func intern(s string) *string {
	place := &recent[maphash.String(recentSeed, s)%uint64(len(recent))]
	if known := place.Load(); known != nil && *known == s {
		return known
	}
	own := strings.Clone(s)
	place.Store(&own)
	return &own
}

func makeLabels(set labels.Set, before Labels) Labels {
	if same(set, before.pairs) {
		return before
	}
	return Labels{makePairs(set)}
}

func makeFields(set fields.Set, before Fields) Fields {
	if same(set, before.pairs) {
		return before
	}
	return Fields{makePairs(set)}
}

// implied are the fields that an Object knows without keeping them.
func implied(name string) bool { return name == "metadata.name" || name == "metadata.namespace" }

func makePairs[M ~map[string]string](set M) []pair {
	if len(set) == 0 {
		return nil
	}
	pairs := make([]pair, 0, len(set))
	for name, value := range set {
		if !implied(name) {
			pairs = append(pairs, pair{intern(name), intern(value)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(*a.name, *b.name) })
	return slices.Clip(pairs)
}

// same says that pairs are those of set. Most changes of an object change no label and no field.
func same[M ~map[string]string](set M, pairs []pair) bool {
	n := 0
	for name, value := range set {
		if implied(name) {
			continue
		}
		n++
		if v, ok := lookup(pairs, name); !ok || v != value {
			return false
		}
	}
	return n == len(pairs)
}

func lookup(pairs []pair, name string) (string, bool) {
	// Sets are small: a few comparisons in a row beat a binary search.
	for i := range pairs {
		if *pairs[i].name == name {
			return *pairs[i].value, true
		}
	}
	return "", false
}

// Has, Get and Lookup are what selectors ask.
func (l Labels) Has(name string) bool              { _, ok := lookup(l.pairs, name); return ok }
func (l Labels) Get(name string) string            { v, _ := lookup(l.pairs, name); return v }
func (l Labels) Lookup(name string) (string, bool) { return lookup(l.pairs, name) }

// Set is a copy as a map.
func (l Labels) Set() labels.Set { return toMap[labels.Set](l.pairs) }

// Has and Get are what selectors ask.
func (f Fields) Has(name string) bool   { _, ok := lookup(f.pairs, name); return ok }
func (f Fields) Get(name string) string { v, _ := lookup(f.pairs, name); return v }

// Set is a copy as a map.
func (f Fields) Set() fields.Set { return toMap[fields.Set](f.pairs) }

func toMap[M ~map[string]string](pairs []pair) M {
	set := make(M, len(pairs))
	for _, p := range pairs {
		set[*p.name] = *p.value
	}
	return set
}

func samePair(a, b pair) bool { return *a.name == *b.name && *a.value == *b.value }

// shareWith gives up what is equal to another object's for that.
func (o *Object) shareWith(other *Object) {
	if other == nil {
		return
	}
	if slices.EqualFunc(o.Labels.pairs, other.Labels.pairs, samePair) {
		o.Labels = other.Labels
	}
	if slices.EqualFunc(o.Fields.pairs, other.Fields.pairs, samePair) {
		o.Fields = other.Fields
	}
}
