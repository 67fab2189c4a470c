package check

import (
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The library checks names by regular expressions, and metadata up to four times in one update. What follows recognizes
// what it finds nothing wrong with, at a small part of the time. Whatever is not recognized it is asked about: it has the
// messages, and the last word.

// PlainLabel says that s is a DNS label.
func PlainLabel(s string) bool {
	return len(s) <= validation.DNS1123LabelMaxLength && strings.IndexByte(s, '.') < 0 && PlainSubdomain(s)
}

// PlainSubdomain says that s is a DNS subdomain.
func PlainSubdomain(s string) bool {
	if len(s) > validation.DNS1123SubdomainMaxLength {
		return false
	}
	inside := false // a label has begun, and may end here
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			inside = true
		case c == '.':
			if !inside {
				return false
			}
			inside = false
		case c == '-':
			// Between two letters or other dashes, and neither first nor last.
			if i == 0 || i == len(s)-1 || s[i-1] == '.' || s[i+1] == '.' {
				return false
			}
		default:
			return false
		}
	}
	return inside
}

// PlainLabelKey says that s is a name of a label or an annotation.
func PlainLabelKey(s string) bool {
	if prefix, name, has := strings.Cut(s, "/"); has {
		return PlainSubdomain(prefix) && name != "" && PlainLabelValue(name)
	}
	return s != "" && PlainLabelValue(s)
}

// PlainLabelValue says that s is a value of a label.
func PlainLabelValue(s string) bool {
	if len(s) > validation.LabelValueMaxLength {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9':
		case (c == '-' || c == '_' || c == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return true
}

func plainLabels(labels map[string]string) bool {
	for k, v := range labels {
		if !PlainLabelKey(k) || !PlainLabelValue(v) {
			return false
		}
	}
	return true
}

var metaPath = field.NewPath("metadata")

// PlainMeta says that metadata but for its names is as ValidateObjectMetaAccessor wants it.
func PlainMeta(m metav1.Object, namespaced bool) bool {
	if namespace := m.GetNamespace(); namespaced != (namespace != "") || namespaced && !PlainLabel(namespace) {
		return false
	}
	if m.GetGeneration() < 0 || !plainLabels(m.GetLabels()) {
		return false
	}
	size := 0
	for k, v := range m.GetAnnotations() {
		if size += len(k) + len(v); size > apivalidation.TotalAnnotationSizeLimitB || !PlainLabelKey(k) {
			return false
		}
	}
	for _, e := range m.GetManagedFields() {
		if !plainEntry(&e) {
			return false
		}
	}
	owners, finalizers := m.GetOwnerReferences(), m.GetFinalizers()
	return (len(owners) == 0 || len(apivalidation.ValidateOwnerReferences(owners, metaPath)) == 0) &&
		(len(finalizers) == 0 || len(apivalidation.ValidateFinalizers(finalizers, metaPath)) == 0)
}

func plainEntry(e *metav1.ManagedFieldsEntry) bool {
	if e.Operation != metav1.ManagedFieldsOperationApply && e.Operation != metav1.ManagedFieldsOperationUpdate ||
		e.FieldsType != "" && e.FieldsType != "FieldsV1" ||
		len(e.Manager) > metavalidation.FieldManagerMaxLength || len(e.Subresource) > metavalidation.MaxSubresourceNameLength {
		return false
	}
	for i := range len(e.Manager) {
		if c := e.Manager[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// PlainMetaUpdate says that metadata that is plain by itself may take the place of other, as ValidateObjectMetaAccessorUpdate
// wants it.
func PlainMetaUpdate(m, old metav1.Object) bool {
	created, was := m.GetCreationTimestamp(), old.GetCreationTimestamp()
	grace, before := m.GetDeletionGracePeriodSeconds(), old.GetDeletionGracePeriodSeconds()
	return m.GetDeletionTimestamp() == nil && old.GetDeletionTimestamp() == nil && grace == nil && before == nil &&
		m.GetResourceVersion() != "" && m.GetGeneration() >= old.GetGeneration() && m.GetName() == old.GetName() &&
		m.GetNamespace() == old.GetNamespace() && m.GetUID() == old.GetUID() && created.Equal(&was)
}
