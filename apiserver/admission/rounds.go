package admission

import (
	"maps"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
)

// Rounds is what a mutating rule that asks many (webhooks, policies) remembers from the first round to the second: whom it
// asked, and who of them has not seen the last change. K names one of them.
type Rounds[K comparable] struct {
	asked, again map[K]bool
	// left is the object as the rule left it.
	left runtime.Object
}

// RoundsOf finds or begins the rounds of the rule name. Whatever others changed since its last round makes all whom it asked
// due again.
func RoundsOf[K comparable](a *Attributes, name string) *Rounds[K] {
	r, ok := a.notes[name].(*Rounds[K])
	if !ok {
		r = &Rounds[K]{asked: map[K]bool{}, again: map[K]bool{}}
		if a.notes == nil {
			a.notes = map[string]any{}
		}
		a.notes[name] = r
	}
	if a.Round > 0 && r.left != nil && !apiequality.Semantic.DeepEqual(r.left, a.Object) {
		r.changed()
	}
	return r
}

// Due says whether one is to be asked in this round: all in the first, and then those that have not seen the last change.
func (r *Rounds[K]) Due(a *Attributes, key K) bool { return a.Round == 0 || r.again[key] }

// Asked notes that one has been asked, whether it changed the object, and whether it wants to see the changes of others.
func (r *Rounds[K]) Asked(a *Attributes, key K, changed, reinvocable bool) {
	if changed {
		r.changed()
		a.Again()
	}
	if reinvocable {
		r.asked[key] = true
	}
}

// Left notes the object at the end of a round.
func (r *Rounds[K]) Left(a *Attributes) {
	if a.Object != nil {
		r.left = a.Object.DeepCopyObject()
	}
}

func (r *Rounds[K]) changed() {
	maps.Copy(r.again, r.asked)
	clear(r.asked)
}
