package resource

import (
	"context"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

// Upstream's limits: numbers of entries, lengths in bytes.
const (
	mostRequests         = 32
	mostAlternatives     = 8
	mostSelectors        = 32
	mostConstraints      = 32
	mostConfigs          = 32
	mostResults          = 32
	mostConsumers        = 256
	mostConditions       = 8
	mostDevices          = 128
	mostAdvancedDevices  = 64 // with taints or counters
	mostCounterSets      = 8
	mostCounters         = 32
	mostConsumptions     = 2
	mostAttributes       = 32
	mostTaints           = 16
	mostBindingStates    = 4
	mostValidValues      = 10
	mostAddresses        = 16
	longestID            = 32
	longestQualified     = 63 + 1 + longestID
	longestAttribute     = 64
	longestPool          = 253
	longestParameters    = 10 << 10
	longestExpression    = 10 << 10
	costliestExpression  = 1000000
	longestInterface     = 256
	longestHardware      = 128
	longestDriver        = 63
	longestCounter       = 63
	requestReferenceText = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)

// rule is one of apimachinery's rules for values.
type rule[T any] func(context.Context, operation.Operation, *field.Path, *T, *T) field.ErrorList

// by applies a rule.
func by[T any](l *check.List, at *field.Path, value T, r rule[T]) {
	l.All(r(context.Background(), operation.Operation{}, at, &value, nil))
}

// required applies a rule to a value that must be there.
func required[T ~string](l *check.List, at *field.Path, value T, r rule[T]) {
	if l.Require(at, string(value)) {
		by(l, at, value, r)
	}
}

// few says whether there are few enough to look at, and complains otherwise.
func few(l *check.List, at *field.Path, have, most int) bool {
	if have > most {
		l.Add(field.TooMany(at, have, most))
		return false
	}
	return true
}

// unique complains about the entries of a list that have the key of another before them. The whole entry is shown, in the
// client's shape.
func unique[T any, K comparable](l *check.List, at *field.Path, list []T, key func(*T) K) {
	seen := map[K]bool{}
	for i := range list {
		k := key(&list[i])
		if seen[k] {
			l.Add(field.Duplicate(at.Index(i), shape.Plain(list[i])))
		}
		seen[k] = true
	}
}

func itself[T any](v *T) T { return *v }

// driverName is the rule of fields that came later than the others with a driver's name: its words differ.
func driverName(l *check.List, at *field.Path, name string) {
	if !l.Require(at, name) {
		return
	}
	by(l, at, name, validate.LongNameCaseless[string])
	l.All(validate.MaxLength(context.Background(), operation.Operation{}, at, &name, nil, longestDriver))
}

// poolName: a pool's name is one or more names of nodes, with slashes between them.
func poolName(l *check.List, at *field.Path, name string) {
	if !l.Require(at, name) {
		return
	}
	if len(name) > longestPool {
		l.Add(field.TooLong(at, "", longestPool))
	}
	for _, part := range strings.Split(name, "/") {
		l.Subdomain(at, part)
	}
}

// qualifiedName: an identifier, with or without the driver that means something by it.
func qualifiedName(l *check.List, at *field.Path, name string) {
	parts := strings.Split(name, "/")
	switch len(parts) {
	case 1:
		identifier(l, at, parts[0])
	case 2:
		if parts[0] == "" {
			l.Add(field.Invalid(at, "", "the domain must not be empty"))
		} else {
			podspec.CSIDriverName(l, parts[0], at)
		}
		if parts[1] == "" {
			l.Add(field.Invalid(at, "", "the name must not be empty"))
		} else {
			identifier(l, at, parts[1])
		}
	}
}

func identifier(l *check.List, at *field.Path, name string) {
	if len(name) > longestID {
		l.Add(field.TooLong(at, "", longestID))
	}
	l.Rule(at, name, content.IsCIdentifier)
}

// shortened is a key as a path shows it.
func shortened(key string, most int) string {
	if len(key) <= most {
		return key
	}
	const dots = "..."
	rest := most - len(dots)
	return key[:(rest+1)/2] + dots + key[len(key)-rest/2:]
}

// taintEffects of device taints, sorted.
var taintEffects = []resourcev1.DeviceTaintEffect{resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone}

func taint(l *check.List, t, old *resourcev1.DeviceTaint, at *field.Path) {
	l.LabelKey(at.Child("key"), t.Key)
	if t.Value != "" {
		labelValue(l, at.Child("value"), t.Value)
	}
	if old == nil || old.Effect != t.Effect {
		check.RequiredOneOf(l, at.Child("effect"), t.Effect, taintEffects...)
	}
}

func tolerations(l *check.List, list []resourcev1.DeviceToleration, at *field.Path) {
	for i := range list {
		t, at := &list[i], at.Index(i)
		if t.Key != "" {
			by(l, at.Child("key"), t.Key, validate.LabelKey[string])
		}
		switch t.Operator {
		case resourcev1.DeviceTolerationOpExists:
			if t.Value != "" {
				l.Add(field.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`"))
			}
		case resourcev1.DeviceTolerationOpEqual:
			labelValue(l, at.Child("value"), t.Value)
		default:
			check.RequiredOneOf(l, at.Child("operator"), t.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)
		}
		if t.Effect != "" {
			check.OneOf(l, at.Child("effect"), t.Effect, taintEffects...)
		}
	}
}

// bindingStates checks the conditions that a device waits for and those that end the wait.
func bindingStates(l *check.List, good, bad []string, at *field.Path) {
	list := func(names []string, at *field.Path) {
		if few(l, at, len(names), mostBindingStates) {
			for i, name := range names {
				l.LabelKey(at.Index(i), name)
			}
		}
		for i, name := range names {
			if slices.Contains(names[:i], name) {
				l.Add(field.Duplicate(at.Index(i), name))
			}
		}
	}
	goodPath, badPath := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	list(good, goodPath)
	list(bad, badPath)
	for i, name := range bad {
		if slices.Contains(good, name) {
			l.Add(field.Invalid(badPath.Index(i), name, "bindingFailureConditions must not overlap with bindingConditions"))
		}
	}
	if len(good) == 0 && len(bad) > 0 {
		l.Add(field.Invalid(goodPath, good, "bindingConditions are required to use bindingFailureConditions"))
	}
	if len(bad) == 0 && len(good) > 0 {
		l.Add(field.Invalid(badPath, bad, "bindingFailureConditions are required to use bindingConditions"))
	}
}
