package apiextensions

import (
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// heldBack: a definition is always marked first. Whoever deletes its objects removes it (package extensions), by a
// finalizer like any other, so that nothing is held back but by that.
func heldBack(*apiextensionsv1.CustomResourceDefinition) bool { return false }

// prepareDeletion makes a marked definition wait for its objects.
func prepareDeletion(req *kinds.Request, d *apiextensionsv1.CustomResourceDefinition) {
	if apihelpers.IsCRDConditionTrue(d, apiextensionsv1.Terminating) {
		return
	}
	// Upstream does not ask what shall become of a definition's dependents.
	d.Finalizers = slices.DeleteFunc(d.Finalizers, func(name string) bool {
		return name == metav1.FinalizerOrphanDependents || name == metav1.FinalizerDeleteDependents
	})
	if !apihelpers.CRDHasFinalizer(d, apiextensionsv1.CustomResourceCleanupFinalizer) {
		if done := apihelpers.FindCRDCondition(d, apiextensionsv1.Terminating); done != nil {
			return // its objects are gone already
		}
		d.Finalizers = append(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	SetCondition(d, req.Now, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue,
		Reason: "InstanceDeletionPending", Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"})
}

// SetCondition sets a condition of a definition, or leaves it alone if it says that already.
func SetCondition(d *apiextensionsv1.CustomResourceDefinition, now time.Time, c apiextensionsv1.CustomResourceDefinitionCondition) {
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	old := apihelpers.FindCRDCondition(d, c.Type)
	switch {
	case old == nil:
		d.Status.Conditions = append(d.Status.Conditions, c)
	case old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message:
	default:
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
	}
}
