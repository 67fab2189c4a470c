package ownership

import (
	"sync"

	aggregator "k8s.io/kube-aggregator/pkg/client/applyconfiguration"

	extensions "k8s.io/apiextensions-apiserver/pkg/client/applyconfiguration"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// BuiltIn knows the schemas of all kinds that are compiled in. Parsing them takes a while and is done once.
var BuiltIn = sync.OnceValue(func() managedfields.TypeConverter {
	return byGroup{
		"apiextensions.k8s.io":   extensions.NewTypeConverter(kinds.Scheme),
		"apiregistration.k8s.io": aggregator.NewTypeConverter(kinds.Scheme),
		"":                       applyconfigurations.NewTypeConverter(kinds.Scheme),
	}
})

// byGroup asks the converter of an object's group, or the one for all others, under "".
type byGroup map[string]managedfields.TypeConverter

func (b byGroup) of(group string) managedfields.TypeConverter {
	if t, ok := b[group]; ok {
		return t
	}
	return b[""]
}

func (b byGroup) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	return b.of(obj.GetObjectKind().GroupVersionKind().Group).ObjectToTyped(obj, opts...)
}

func (b byGroup) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	// All of them turn a value into a map.
	return b[""].TypedToObject(value)
}
