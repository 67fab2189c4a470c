package kinds

import (
	"encoding/json"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// Scheme knows every Go type that the server serves or stores. It has no defaults: those stand in the rows.
var Scheme = newScheme()

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	utilruntime.Must(clientscheme.AddToScheme(s))
	utilruntime.Must(apiextensionsv1.SchemeBuilder.AddToScheme(s))
	utilruntime.Must(apiextensionsv1beta1.SchemeBuilder.AddToScheme(s))
	utilruntime.Must(apiregistrationv1.SchemeBuilder.AddToScheme(s))
	utilruntime.Must(metav1.AddMetaToScheme(s))
	return s
}

// hubGVK is the one name under which the scheme knows obj's type.
func hubGVK(obj runtime.Object) schema.GroupVersionKind {
	gvks, _, err := Scheme.ObjectKinds(obj)
	if err != nil || len(gvks) != 1 {
		panic(fmt.Sprintf("kinds: %T: known as %v: %v", obj, gvks, err))
	}
	return gvks[0]
}

func mustNew(gvk schema.GroupVersionKind) runtime.Object {
	obj, err := Scheme.New(gvk)
	if err != nil {
		panic(fmt.Sprintf("kinds: %v", err))
	}
	return obj
}

// sameLayout is a version whose fields have the hub's names and types, so that JSON carries one to the other.
func sameLayout(hub schema.GroupVersionKind, version string) Version {
	gvk := schema.GroupVersionKind{Group: hub.Group, Version: version, Kind: hub.Kind}
	return Version{
		GVK: gvk, ListKind: gvk.Kind + "List",
		New:     func() runtime.Object { return mustNew(gvk) },
		NewList: func() runtime.Object { return mustNew(gvk.GroupVersion().WithKind(gvk.Kind + "List")) },
		FromHub: func(o runtime.Object) (runtime.Object, error) { return throughJSON(o, gvk) },
		ToHub:   func(o runtime.Object) (runtime.Object, error) { return throughJSON(o, hub) },
	}
}

func throughJSON(from runtime.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	b, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("convert %T to %s: %w", from, gvk, err)
	}
	to := mustNew(gvk)
	if err := json.Unmarshal(b, to); err != nil {
		return nil, fmt.Errorf("convert %T to %s: %w", from, gvk, err)
	}
	to.GetObjectKind().SetGroupVersionKind(gvk)
	return to, nil
}
