package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// immortal namespaces cannot be deleted.
var immortal = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}

// NamespaceLifecycle refuses new objects in namespaces that do not exist or are going away.
func NamespaceLifecycle(o *Objects) Rule {
	return Rule{Name: "NamespaceLifecycle", Mutate: func(ctx context.Context, a *Attributes) error {
		if a.Kind.GVK.Group == "" && a.Kind.Resource == "namespaces" {
			if a.Operation == Delete && slices.Contains(immortal, a.Name) {
				return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, errors.New("this namespace may not be deleted"))
			}
			return nil
		}
		// Reviews of access must not tell which namespaces exist.
		if a.Namespace == "" || a.Operation != Create && a.Operation != Connect || a.Kind.Resource == "localsubjectaccessreviews" {
			return nil
		}
		obj, err := o.namespaceFor(ctx, a)
		if err != nil {
			return err
		}
		if a.Operation == Connect || obj.(*corev1.Namespace).Status.Phase != corev1.NamespaceTerminating {
			return nil
		}
		refusal := forbidden(a, "unable to create new content in namespace %s because it is being terminated", a.Namespace)
		var status *apierrors.StatusError
		if errors.As(refusal, &status) {
			status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause,
				Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace), Field: "metadata.namespace"})
		}
		return refusal
	}}
}

// namespaceFor reads a's namespace. An acknowledged deletion counts at once for new objects, whichever server has acknowledged
// it: either etcd is asked, or it is asked to write only if the namespace is still the one that this server knows.
func (o *Objects) namespaceFor(ctx context.Context, a *Attributes) (runtime.Object, error) {
	switch {
	case a.Subresource != "" && a.Operation == Create:
		// What is posted below an object (a binding, an eviction) is no new object.
		return o.get(ctx, core("namespaces"), "", a.Namespace)
	case a.Optimistic && !o.hasQuota(ctx, a.Namespace): // what has been charged to a quota cannot be tried again
		found, err := ownView(ctx, o.Readers(core("namespaces")), "", a.Namespace)
		if err == nil {
			obj, err := found.Shared()
			if err == nil && obj.(*corev1.Namespace).Status.Phase != corev1.NamespaceTerminating {
				a.Require(found)
				return obj, nil
			}
		}
	}
	return o.latest(ctx, core("namespaces"), "", a.Namespace)
}

func (o *Objects) hasQuota(ctx context.Context, namespace string) bool {
	quotas, err := o.list(ctx, core("resourcequotas"), namespace)
	return err != nil || len(quotas) > 0
}
