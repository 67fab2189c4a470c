package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		// An acknowledged deletion counts at once: the cache may not have heard of it yet.
		obj, err := o.latest(ctx, core("namespaces"), "", a.Namespace)
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
