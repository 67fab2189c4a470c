package apiextensions

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// stored is how definitions are in etcd: in the oldest version, which has the schema outside the versions where all
// have the same. The library's own conversion goes by way of its internal type.
var stored = kinds.Version{
	GVK: apiextensionsv1beta1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), ListKind: "CustomResourceDefinitionList",
	New:     func() runtime.Object { return &apiextensionsv1beta1.CustomResourceDefinition{} },
	NewList: func() runtime.Object { return &apiextensionsv1beta1.CustomResourceDefinitionList{} },
	FromHub: func(o runtime.Object) (runtime.Object, error) {
		return convert(o, &apiextensionsv1beta1.CustomResourceDefinition{}, apiextensionsv1beta1.SchemeGroupVersion)
	},
	ToHub: func(o runtime.Object) (runtime.Object, error) {
		return convert(o, &apiextensionsv1.CustomResourceDefinition{}, apiextensionsv1.SchemeGroupVersion)
	},
}

var conversions = func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(apiextensions.AddToScheme(s))
	utilruntime.Must(apiextensionsv1.AddToScheme(s))
	utilruntime.Must(apiextensionsv1beta1.AddToScheme(s))
	return s
}()

func convert(from, to runtime.Object, version schema.GroupVersion) (runtime.Object, error) {
	var between apiextensions.CustomResourceDefinition
	// Conversion shares memory with what it converts.
	if err := conversions.Convert(from.DeepCopyObject(), &between, nil); err != nil {
		return nil, fmt.Errorf("convert %T to %s: %w", from, version, err)
	}
	if err := conversions.Convert(&between, to, nil); err != nil {
		return nil, fmt.Errorf("convert %T to %s: %w", from, version, err)
	}
	to.GetObjectKind().SetGroupVersionKind(version.WithKind("CustomResourceDefinition"))
	return to, nil
}
