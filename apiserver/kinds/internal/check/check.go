// Package check has the small rules that validations of many kinds are made of. Texts are upstream's.
package check

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// List is a list of errors that grows.
type List struct{ field.ErrorList }

// Add appends errors, leaving out nils.
func (l *List) Add(errs ...*field.Error) {
	for _, e := range errs {
		if e != nil {
			l.ErrorList = append(l.ErrorList, e)
		}
	}
}

// All appends a list.
func (l *List) All(errs field.ErrorList) { l.ErrorList = append(l.ErrorList, errs...) }

// Require complains if text is empty; it returns whether it was there.
func (l *List) Require(at *field.Path, text string) bool {
	if text == "" {
		l.Add(field.Required(at, ""))
		return false
	}
	return true
}

// Rule complains about value with each message that rule has for it.
func (l *List) Rule(at *field.Path, value string, rule func(string) []string) {
	l.Messages(at, value, rule(value))
}

// Messages complains about value with each message.
func (l *List) Messages(at *field.Path, value any, messages []string) {
	for _, m := range messages {
		l.Add(field.Invalid(at, value, m))
	}
}

// Name complains about a name that is not one by the rule.
func (l *List) Name(at *field.Path, value string, rule func(string, bool) []string) {
	l.Messages(at, value, rule(value, false))
}

// Label, Subdomain and Qualified complain about texts that are none.
func (l *List) Label(at *field.Path, value string) {
	if !PlainLabel(value) {
		l.Rule(at, value, validation.IsDNS1123Label)
	}
}

// Subdomain: see Label.
func (l *List) Subdomain(at *field.Path, value string) {
	if !PlainSubdomain(value) {
		l.Rule(at, value, validation.IsDNS1123Subdomain)
	}
}

// Qualified: see Label.
func (l *List) Qualified(at *field.Path, value string) {
	if !PlainLabelKey(value) {
		l.Rule(at, value, func(s string) []string { return validation.IsQualifiedName(s) })
	}
}

// NotNegative complains about numbers below zero.
func (l *List) NotNegative(at *field.Path, n int64) {
	l.All(apivalidation.ValidateNonnegativeField(n, at))
}

// Positive complains about numbers below one.
func (l *List) Positive(at *field.Path, n int64) {
	if n <= 0 {
		l.Add(field.Invalid(at, n, "must be greater than zero"))
	}
}

// QuantityNotNegative complains about quantities below zero.
func (l *List) QuantityNotNegative(at *field.Path, q resource.Quantity) {
	if q.Sign() < 0 {
		l.Add(field.Invalid(at, q.String(), apivalidation.IsNegativeErrorMsg))
	}
}

// OneOf complains about a value that is not among those known.
func OneOf[T ~string](l *List, at *field.Path, value T, known ...T) {
	for _, k := range known {
		if k == value {
			return
		}
	}
	l.Add(field.NotSupported(at, value, known))
}

// RequiredOneOf also complains about an empty value, in other words.
func RequiredOneOf[T ~string](l *List, at *field.Path, value T, known ...T) {
	if value == "" {
		l.Add(field.Required(at, ""))
		return
	}
	OneOf(l, at, value, known...)
}

// Immutable complains about a change.
func (l *List) Immutable(at *field.Path, now, before any) {
	l.All(apivalidation.ValidateImmutableField(now, before, at))
}

// Fixed complains about a change that was seen, without the value: upstream's newer rules show none.
func (l *List) Fixed(at *field.Path) {
	l.Add(field.Invalid(at, nil, apivalidation.FieldImmutableErrorMsg))
}

// NoBacksteps complains about paths that climb.
func (l *List) NoBacksteps(at *field.Path, path string) {
	for _, part := range strings.Split(path, "/") {
		if part == ".." {
			l.Add(field.Invalid(at, path, "must not contain '..'"))
			return
		}
	}
}

// Descending complains about paths that are absolute or climb.
func (l *List) Descending(at *field.Path, path string) {
	if strings.HasPrefix(path, "/") {
		l.Add(field.Invalid(at, path, "must be a relative path"))
	}
	l.NoBacksteps(at, path)
}

// FilePath complains about paths that may not be those of files in a volume: names that begin with ".." are the
// volume writer's own.
func (l *List) FilePath(at *field.Path, path string) {
	l.Descending(at, path)
	if strings.HasPrefix(path, "..") && !strings.HasPrefix(path, "../") {
		l.Add(field.Invalid(at, path, "must not start with '..'"))
	}
}

// FileMode complains about modes that are none.
func (l *List) FileMode(at *field.Path, mode *int32) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		l.Add(field.Invalid(at, *mode, "must be a number between 0 and 0777 (octal), both inclusive"))
	}
}

// Protocols that ports speak, sorted.
var Protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

// PodMeta checks the metadata of a pod once more, as upstream does on each of its doors.
func PodMeta(pod *corev1.Pod) field.ErrorList {
	if pod.GenerateName == "" && PlainSubdomain(pod.Name) && PlainMeta(pod, true) {
		return nil
	}
	return apivalidation.ValidateObjectMetaAccessor(pod, true, apivalidation.NameIsDNSSubdomain, metaPath)
}
