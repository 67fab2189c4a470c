package authorization

import (
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// selectorNotes say which selectors of a question cannot be understood and are left out of it: what is asked is broader
// then, never narrower.
func selectorNotes(r *authorizationv1.ResourceAttributes) []string {
	var notes []string
	note := func(name string, good, bad int) {
		switch {
		case bad == 0:
		case good > 0:
			notes = append(notes, fmt.Sprintf("spec.resourceAttributes.%s partially ignored due to parse error", name))
		default:
			notes = append(notes, fmt.Sprintf("spec.resourceAttributes.%s ignored due to parse error", name))
		}
	}
	if s := r.FieldSelector; s != nil {
		bad := 0
		if _, err := fields.ParseSelector(s.RawSelector); err != nil {
			bad++
		}
		for i := range s.Requirements {
			if !goodField(&s.Requirements[i]) {
				bad++
			}
		}
		note("fieldSelector", len(s.Requirements)-bad, bad)
	}
	if s := r.LabelSelector; s != nil {
		bad := 0
		if _, err := labels.Parse(s.RawSelector); err != nil {
			bad++
		}
		for i := range s.Requirements {
			if !goodLabel(&s.Requirements[i]) {
				bad++
			}
		}
		note("labelSelector", len(s.Requirements)-bad, bad)
	}
	return notes
}

// goodField: fields are compared with one value, no more.
func goodField(r *metav1.FieldSelectorRequirement) bool {
	return (r.Operator == metav1.FieldSelectorOpIn || r.Operator == metav1.FieldSelectorOpNotIn) && len(r.Values) == 1
}

var labelOperators = map[metav1.LabelSelectorOperator]selection.Operator{
	metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
	metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
}

func goodLabel(r *metav1.LabelSelectorRequirement) bool {
	op, ok := labelOperators[r.Operator]
	if !ok {
		return false
	}
	_, err := labels.NewRequirement(r.Key, op, r.Values)
	return err == nil
}
