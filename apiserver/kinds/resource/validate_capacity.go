package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

func capacities(l *check.List, d *resourcev1.Device, at *field.Path) {
	shared := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
	for _, name := range slices.Sorted(maps.Keys(d.Capacity)) {
		qualifiedName(l, at, string(name))
		c, at := d.Capacity[name], at.Key(shortened(string(name), longestQualified)).Child("requestPolicy")
		switch {
		case c.RequestPolicy == nil:
		case !shared:
			l.Add(field.Forbidden(at, "allowMultipleAllocations must be true"))
		default:
			requestPolicy(l, c.Value, c.RequestPolicy, at)
		}
	}
}

// requestPolicy checks which shares of a capacity may be asked for.
func requestPolicy(l *check.List, most resource.Quantity, p *resourcev1.CapacityRequestPolicy, at *field.Path) {
	values, valueRange := len(p.ValidValues) > 0, p.ValidRange != nil
	switch {
	case values && valueRange:
		l.Add(field.Forbidden(at, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`))
	case values && p.Default == nil:
		l.Add(field.Required(at.Child("default"), "required when validValues is defined"))
	case values:
		validValues(l, *p.Default, most, p.ValidValues, at.Child("validValues"))
	case valueRange && p.Default == nil:
		l.Add(field.Required(at.Child("default"), "required when validRange is defined"))
	case valueRange:
		validRange(l, *p.Default, most, p.ValidRange, at.Child("validRange"))
	}
}

func validValues(l *check.List, usual, most resource.Quantity, values []resource.Quantity, at *field.Path) {
	for i := 1; i < len(values); i++ {
		if values[i-1].Cmp(values[i]) > 0 {
			l.Add(field.Invalid(at.Index(i), values[i].String(), "values must be sorted in ascending order"))
		}
	}
	found, seen := false, map[string]bool{}
	if few(l, at, len(values), mostValidValues) {
		for i := range values {
			if values[i].Cmp(most) > 0 {
				l.Add(field.Invalid(at.Index(i), values[i].String(), "option is larger than capacity value: "+most.String()))
			}
			found = found || values[i].Cmp(usual) == 0
		}
		for i := range values {
			key := strconv.FormatInt(values[i].Value(), 10)
			if seen[key] {
				l.Add(field.Duplicate(at.Index(i), key))
			}
			seen[key] = true
		}
	}
	if !found {
		l.Add(field.Invalid(at, usual.String(), "default value is not valid according to the requestPolicy"))
	}
}

func validRange(l *check.List, usual, capacity resource.Quantity, r *resourcev1.CapacityRequestPolicyRange, at *field.Path) {
	if r.Min == nil {
		l.Add(field.Required(at.Child("min"), "required when validRange is defined"))
		return
	}
	wrong := func(name string, q *resource.Quantity, format string, args ...any) {
		l.Add(field.Invalid(at.Child(name), q.String(), fmt.Sprintf(format, args...)))
	}
	if r.Min.Cmp(capacity) > 0 {
		wrong("min", r.Min, "min is larger than capacity value: %s", capacity.String())
	}
	if usual.Cmp(*r.Min) < 0 {
		wrong("default", &usual, "default is less than min: %s", r.Min.String())
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			wrong("max", r.Min, "min is larger than max: %s", r.Max.String())
		}
		if r.Max.Cmp(capacity) > 0 {
			wrong("max", r.Max, "max is larger than capacity value: %s", capacity.String())
		}
		if usual.Cmp(*r.Max) > 0 {
			wrong("default", &usual, "default is more than max: %s", r.Max.String())
		}
	}
	if r.Step == nil {
		return
	}
	if r.Step.Sign() <= 0 {
		wrong("step", r.Step, "must be greater than zero")
		return
	}
	next := r.Min.DeepCopy()
	next.Add(*r.Step)
	if next.Cmp(capacity) > 0 {
		wrong("step", r.Step, "one step %s is larger than capacity value: %s", next.String(), capacity.String())
	}
	// Steps are counted in whole numbers; what cannot be counted is refused.
	countable := true
	for _, n := range []struct {
		name string
		q    *resource.Quantity
	}{{"default", &usual}, {"min", r.Min}, {"max", r.Max}, {"step", r.Step}} {
		if n.q == nil || n.q.Sign() >= 0 && n.q.CmpInt64(math.MaxInt64) <= 0 {
			continue
		}
		countable = false
		if n.q.Sign() < 0 {
			wrong(n.name, n.q, apivalidation.IsNegativeErrorMsg)
		} else {
			wrong(n.name, n.q, "must not be larger than 9223372036854775807")
		}
	}
	if !countable {
		return
	}
	for _, q := range []*resource.Quantity{&usual, r.Max} {
		if q != nil && (q.Value()-r.Min.Value())%r.Step.Value() != 0 {
			wrong("step", q, "value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String())
		}
	}
}
