package wire

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// InternalName is upstream's internal type of a kind, for messages.
func InternalName(gvk schema.GroupVersionKind) string { return internalName(gvk) }

// KindOf is the name of a type that the scheme knows.
func KindOf(obj runtime.Object) schema.GroupVersionKind {
	gvks, _, err := kinds.Scheme.ObjectKinds(obj)
	if err != nil || len(gvks) == 0 {
		return schema.GroupVersionKind{}
	}
	return gvks[0]
}

// SameLayout are the other versions of a kind that the scheme knows: bodies of POSTs below an object may be in any of
// them (an Eviction of policy/v1beta1).
func SameLayout(gvk schema.GroupVersionKind) []schema.GroupVersion {
	var out []schema.GroupVersion
	for _, gv := range kinds.Scheme.VersionsForGroupKind(gvk.GroupKind()) {
		if gv != gvk.GroupVersion() {
			out = append(out, gv)
		}
	}
	return out
}

// Relayout makes an object of another version of the same layout one of gvk.
func Relayout(obj runtime.Object, empty func() runtime.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	if obj.GetObjectKind().GroupVersionKind() == gvk {
		return obj, nil
	}
	data, err := encodeJSON(obj)
	if err != nil {
		return nil, err
	}
	out := empty()
	if _, err := unmarshal(data, out, false); err != nil {
		return nil, fmt.Errorf("convert %T to %s: %w", obj, gvk, err)
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}

// DecodeDeleteOptions reads the body of a DELETE. It may be of meta.k8s.io or of any group and version that knows the
// type, since clients send it in that of the object.
func DecodeDeleteOptions(body []byte, format Format) (*metav1.DeleteOptions, error) {
	t := Target{GVK: metav1.SchemeGroupVersion.WithKind("DeleteOptions"), New: func() runtime.Object { return &metav1.DeleteOptions{} }}
	obj, _, _, err := decode(Body{Data: body, Format: format}, t)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	opts, ok := obj.(*metav1.DeleteOptions)
	if !ok {
		return nil, apierrors.NewBadRequest("decoded object cannot be converted to DeleteOptions")
	}
	return opts, nil
}
