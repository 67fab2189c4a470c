package check

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CountOrPercent complains about what is neither a count nor a percentage of something.
func (l *List) CountOrPercent(at *field.Path, v intstr.IntOrString) {
	if v.Type == intstr.String {
		l.Messages(at, v, validation.IsValidPercent(v.StrVal))
		return
	}
	l.NotNegative(at, int64(v.IntValue()))
}

// NotMoreThanAll complains about more than all of something.
func (l *List) NotMoreThanAll(at *field.Path, v intstr.IntOrString) {
	if n, ok := Percent(v); ok && n > 100 {
		l.Add(field.Invalid(at, v, "must not be greater than 100%"))
	}
}

// Percent is the number before the percent sign.
func Percent(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return n, err == nil
}
