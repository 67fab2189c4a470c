package ownership

import (
	"fmt"
	"slices"
	"sync"

	"go.yaml.in/yaml/v2"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/client/applyconfiguration"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	aggregator "k8s.io/kube-aggregator/pkg/client/applyconfiguration"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// BuiltIn knows the schemas of all kinds that are compiled in. Parsing them takes a while and is done once.
var BuiltIn = sync.OnceValue(func() managedfields.TypeConverter {
	return byGroup{
		"apiextensions.k8s.io":   extensions.NewTypeConverter(kinds.Scheme),
		"apiregistration.k8s.io": aggregator.NewTypeConverter(kinds.Scheme),
		"":                       withScale(applyconfigurations.NewTypeConverter(kinds.Scheme)),
	}
})

// withScale adds autoscaling/v1 Scale, which is nobody's resource and so has no apply configuration, to what the
// converter knows.
func withScale(types managedfields.TypeConverter) managedfields.TypeConverter {
	any, err := types.ObjectToTyped(&autoscalingv1.HorizontalPodAutoscaler{TypeMeta: metav1.TypeMeta{Kind: "HorizontalPodAutoscaler", APIVersion: "autoscaling/v1"}})
	if err != nil {
		panic(fmt.Sprintf("ownership: the built-in schema: %v", err))
	}
	var scale schema.Schema
	if err := yaml.Unmarshal([]byte(scaleSchema), &scale); err != nil {
		panic(fmt.Sprintf("ownership: the schema of Scale: %v", err))
	}
	parser := &typed.Parser{Schema: schema.Schema{Types: append(slices.Clone(any.Schema().Types), scale.Types...)}}
	return managedfields.NewSchemeTypeConverter(kinds.Scheme, parser)
}

const scaleSchema = `
types:
- name: io.k8s.api.autoscaling.v1.Scale
  map:
    fields:
    - name: apiVersion
      type: {scalar: string}
    - name: kind
      type: {scalar: string}
    - name: metadata
      type: {namedType: io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta}
      default: {}
    - name: spec
      type: {namedType: io.k8s.api.autoscaling.v1.ScaleSpec}
      default: {}
    - name: status
      type: {namedType: io.k8s.api.autoscaling.v1.ScaleStatus}
      default: {}
- name: io.k8s.api.autoscaling.v1.ScaleSpec
  map:
    fields:
    - name: replicas
      type: {scalar: numeric}
- name: io.k8s.api.autoscaling.v1.ScaleStatus
  map:
    fields:
    - name: replicas
      type: {scalar: numeric}
      default: 0
    - name: selector
      type: {scalar: string}
`

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
