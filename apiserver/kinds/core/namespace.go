package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Namespace is a folder for objects. It has finalizers of its own in its spec: the namespace controller removes
// "kubernetes" through the finalize door once the folder is empty.
var Namespace = kinds.Define(kinds.Row[*corev1.Namespace]{
	Resource: "namespaces", ReturnDeleted: true, ShortNames: []string{"ns"}, Name: kinds.Label,
	Verbs:      []string{"create", "delete", "get", "list", "patch", "update", "watch"},
	Generation: kinds.GenerationNever,
	Fields:     func(n *corev1.Namespace) fields.Set { return fields.Set{"status.phase": string(n.Status.Phase)} },
	Columns: []kinds.Column[*corev1.Namespace]{
		kinds.NameColumn[*corev1.Namespace](),
		{Name: "Status", Description: "The status of the namespace", Cell: func(n *corev1.Namespace) any { return string(n.Status.Phase) }},
		kinds.AgeColumn[*corev1.Namespace](),
	},
	Default:       defaultNamespace,
	PrepareCreate: prepareNewNamespace,
	PrepareUpdate: func(_ *kinds.Request, n, old *corev1.Namespace) { n.Spec.Finalizers = old.Spec.Finalizers },
	Validate:      validateNamespace,
	ValidateUpdate: func(_ *kinds.Request, n, old *corev1.Namespace) field.ErrorList {
		return nil
	},
	ValidateStatus: validateNamespaceStatus,
	HasFinalizers:  func(n *corev1.Namespace) bool { return len(n.Spec.Finalizers) > 0 },
	PrepareDelete:  func(_ *kinds.Request, n *corev1.Namespace) { n.Status.Phase = corev1.NamespaceTerminating },
	Subresources: map[string]*kinds.Subresource{"finalize": {
		GVK: corev1.SchemeGroupVersion.WithKind("Namespace"), Verbs: []string{"update"},
		Update: &kinds.UpdateDoor{
			Resets: []string{"status"},
			Prepare: func(_ *kinds.Request, o, old runtime.Object) {
				o.(*corev1.Namespace).Status = old.(*corev1.Namespace).Status
			},
			Validate: func(_ *kinds.Request, o, old runtime.Object) field.ErrorList {
				return validateNamespaceFinalize(o.(*corev1.Namespace), old.(*corev1.Namespace))
			},
		},
	}},
})
