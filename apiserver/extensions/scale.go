package extensions

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// scaleDoor shows an object as its Scale, by the paths that its version names.
func (r *row) scaleDoor(v *version) *kinds.Subresource {
	paths := v.scale()
	replicas := split(paths.SpecReplicasPath)
	return &kinds.Subresource{
		GVK:   schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"},
		Verbs: []string{"get", "patch", "update"},
		Scale: &kinds.ScaleDoor{
			Path: replicas,
			Check: func(obj runtime.Object) error {
				u, err := r.in(v, obj)
				if err != nil {
					return apierrors.NewInternalError(err)
				}
				_, found, err := unstructured.NestedInt64(u.Object, replicas...)
				if err == nil && !found {
					err = fmt.Errorf("the spec replicas field %q does not exist", paths.SpecReplicasPath)
				}
				if err != nil {
					return apierrors.NewInternalError(err)
				}
				return nil
			},
			Get: func(obj runtime.Object) (spec, status int32, selector string) {
				u, err := r.in(v, obj)
				if err != nil {
					return 0, 0, ""
				}
				wanted, _, _ := unstructured.NestedInt64(u.Object, replicas...)
				there, _, _ := unstructured.NestedInt64(u.Object, split(paths.StatusReplicasPath)...)
				if paths.LabelSelectorPath != nil && *paths.LabelSelectorPath != "" {
					selector, _, _ = unstructured.NestedString(u.Object, split(*paths.LabelSelectorPath)...)
				}
				return int32(wanted), int32(there), selector //nolint:gosec // validated to fit
			},
			Set: func(obj runtime.Object, n int32) {
				hub := obj.(*unstructured.Unstructured)
				u, err := r.in(v, hub)
				if err != nil {
					return
				}
				if u != hub {
					u = u.DeepCopy()
				}
				if unstructured.SetNestedField(u.Object, int64(n), replicas...) != nil {
					return
				}
				if back, err := r.in(r.hub, u); err == nil && u != hub {
					hub.Object = back.Object
				}
			},
		},
	}
}
