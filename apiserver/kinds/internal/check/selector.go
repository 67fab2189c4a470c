package check

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Selector complains about label selectors that select by what cannot be a label.
func (l *List) Selector(at *field.Path, s *metav1.LabelSelector) {
	l.All(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at))
}

// Labels complains about sets of labels that are none.
func (l *List) Labels(at *field.Path, labels map[string]string) {
	if !plainLabels(labels) {
		l.All(metavalidation.ValidateLabels(labels, at))
	}
}

// LabelKey complains about what cannot be a label's key.
func (l *List) LabelKey(at *field.Path, key string) {
	if !PlainLabelKey(key) {
		l.All(metavalidation.ValidateLabelName(key, at))
	}
}
