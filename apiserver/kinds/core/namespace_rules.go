package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// defaultNamespace gives every namespace its own name as a label, so that selectors can name it.
func defaultNamespace(n *corev1.Namespace) {
	if n.Status.Phase == "" {
		n.Status.Phase = corev1.NamespaceActive
	}
	if n.Name == "" {
		return
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	if n.Labels[corev1.LabelMetadataName] != n.Name {
		n.Labels[corev1.LabelMetadataName] = n.Name
	}
}

func prepareNewNamespace(_ *kinds.Request, n *corev1.Namespace) {
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	// The finalizer that the namespace controller takes away is not the client's to leave out.
	for _, f := range n.Spec.Finalizers {
		if f == corev1.FinalizerKubernetes {
			return
		}
	}
	n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
}

func validateNamespace(_ *kinds.Request, n *corev1.Namespace) field.ErrorList {
	return validateNamespaceFinalizers(n, func(int) *field.Path { return specFinalizers })
}

var specFinalizers = field.NewPath("spec", "finalizers")

// validateNamespaceFinalizers looks at the finalizers of the spec. An unknown one without a domain could never be
// removed by anybody. Upstream says which one it means only at the finalize door.
func validateNamespaceFinalizers(n *corev1.Namespace, at func(i int) *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range n.Spec.Finalizers {
		errs = append(errs, validateFinalizer(string(f), at(i))...)
	}
	return errs
}

func validateNamespaceStatus(_ *kinds.Request, n, old *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	switch {
	case n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive:
		errs = append(errs, field.Invalid(field.NewPath("status", "Phase"), n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty"))
	case !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating:
		errs = append(errs, field.Invalid(field.NewPath("status", "Phase"), n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"))
	}
	return errs
}

func validateNamespaceFinalize(n, old *corev1.Namespace) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&n.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	return append(errs, validateNamespaceFinalizers(n, specFinalizers.Index)...)
}

var standardFinalizers = map[string]bool{
	string(corev1.FinalizerKubernetes): true, "orphan": true, "foregroundDeletion": true,
}

func validateFinalizer(name string, at *field.Path) field.ErrorList {
	errs := apivalidation.ValidateFinalizerName(name, at)
	if !strings.Contains(name, "/") && !standardFinalizers[name] {
		errs = append(errs, field.Invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified"))
	}
	return errs
}
