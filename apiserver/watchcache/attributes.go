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

func makePairs[M ~map[string]string](set M) []pair {
	if len(set) == 0 {
		return nil
	}
	pairs := make([]pair, 0, len(set))
	for name, value := range set {
		pairs = append(pairs, pair{unique.Make(name), unique.Make(value)})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Compare(a.name.Value(), b.name.Value()) })
	return pairs
}

func makeLabels(set labels.Set) Labels { return Labels{makePairs(set)} }
func makeFields(set fields.Set) Fields { return Fields{makePairs(set)} }

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
