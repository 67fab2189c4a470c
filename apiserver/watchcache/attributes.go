package watchcache

import (
	"cmp"
	"slices"
	"unique"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Labels are an object's labels, in a quarter of a map's memory: sorted by name, each string kept once in the process
// for as long as anybody holds it. They are a labels.Labels, so that selectors take them.
type Labels struct{ pairs []pair }

// Fields are an object's selectable fields, kept in the same way. They are a fields.Fields.
type Fields struct{ pairs []pair }

type pair struct{ name, value unique.Handle[string] }

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
			pairs = append(pairs, pair{unique.Make(name), unique.Make(value)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.name.Value(), b.name.Value()) })
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
		if pairs[i].name.Value() == name {
			return pairs[i].value.Value(), true
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
		set[p.name.Value()] = p.value.Value()
	}
	return set
}

// shareWith gives up what is equal to another object's for that.
func (o *Object) shareWith(other *Object) {
	if other == nil {
		return
	}
	if slices.Equal(o.Labels.pairs, other.Labels.pairs) {
		o.Labels = other.Labels
	}
	if slices.Equal(o.Fields.pairs, other.Fields.pairs) {
		o.Fields = other.Fields
	}
}
