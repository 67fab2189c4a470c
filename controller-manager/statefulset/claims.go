package statefulset

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// ensureClaims makes the claims that the pod of that number needs and that are not there.
func (c *Controller) ensureClaims(ctx context.Context, key string, set *appsv1.StatefulSet, number int) error {
	for _, claim := range claims(set, number) {
		there, err := c.claims.PersistentVolumeClaims(claim.Namespace).Get(claim.Name)
		switch {
		case err == nil && there.DeletionTimestamp != nil:
			return fmt.Errorf("pvc %s is being deleted", claim.Name)
		case err == nil:
			continue
		case !apierrors.IsNotFound(err):
			return err
		}
		created, err := c.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Create(ctx, claim, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			c.events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %s", claim.Name, podName(set, number), set.Name, err)
			return fmt.Errorf("failed to create PVC %s: %w", claim.Name, err)
		}
		c.events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", claim.Name, podName(set, number), set.Name)
		c.writes.Wrote(key, c.claimStore, created)
	}
	return nil
}

// ownClaims sets the owners of the claims of a pod as the retention policy says: the garbage collector does the rest.
func (c *Controller) ownClaims(ctx context.Context, key string, set *appsv1.StatefulSet, pod *corev1.Pod, number int) error {
	for _, wanted := range claims(set, number) {
		claim, err := c.claims.PersistentVolumeClaims(wanted.Namespace).Get(wanted.Name)
		if err != nil {
			continue // it is missing: made when the pod is
		}
		owners, conflict := owners(claim, set, pod, number)
		if conflict {
			c.events.Eventf(set, corev1.EventTypeWarning, "ConflictingController", "PersistentVolumeClaim %s has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim", claim.Name)
		}
		if equality.Semantic.DeepEqual(owners, claim.OwnerReferences) {
			continue
		}
		updated := claim.DeepCopy()
		updated.OwnerReferences = owners
		written, err := c.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, updated, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("could not update claim %s for delete policy ownerRefs: %w", claim.Name, control.IgnoreNotFound(err))
		}
		c.writes.Wrote(key, c.claimStore, written)
	}
	return nil
}

// owners answers the owner references that claim should have. A claim that another controller has, or an earlier set or
// pod of the same name, is left as it is.
func owners(claim *corev1.PersistentVolumeClaim, set *appsv1.StatefulSet, pod *corev1.Pod, number int) (refs []metav1.OwnerReference, conflict bool) {
	policy := appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	if set.Spec.PersistentVolumeClaimRetentionPolicy != nil {
		policy = *set.Spec.PersistentVolumeClaimRetentionPolicy
	}
	whenDeleted := policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	whenScaled := policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	for _, ref := range claim.OwnerReferences {
		stale := (ref.Kind == kind.Kind && ref.Name == set.Name && ref.UID != set.UID) || (ref.Kind == podKind.Kind && ref.Name == pod.Name && ref.UID != pod.UID)
		if stale {
			return claim.OwnerReferences, whenDeleted || whenScaled
		}
		if ref.UID == set.UID || ref.UID == pod.UID {
			continue
		}
		refs = append(refs, ref)
		conflict = conflict || (ref.Controller != nil && *ref.Controller)
	}
	if !whenDeleted && !whenScaled {
		return refs, false
	}
	if conflict {
		return refs, true
	}
	gone := !inRange(set, number)
	switch {
	case whenScaled && gone:
		refs = append(refs, control.Reference(pod, podKind))
	case whenDeleted && !(whenScaled && gone):
		refs = append(refs, control.Reference(set, kind))
	}
	return refs, false
}

// staleClaims says that a claim of the pod of that number still belongs to its predecessor and is about to go with it.
func (c *Controller) staleClaims(set *appsv1.StatefulSet, number int) bool {
	policy := set.Spec.PersistentVolumeClaimRetentionPolicy
	if policy == nil || policy.WhenScaled != appsv1.DeletePersistentVolumeClaimRetentionPolicyType {
		return false
	}
	for _, wanted := range claims(set, number) {
		claim, err := c.claims.PersistentVolumeClaims(wanted.Namespace).Get(wanted.Name)
		if err == nil && slices.ContainsFunc(claim.OwnerReferences, func(ref metav1.OwnerReference) bool {
			return ref.Kind == podKind.Kind && ref.Name == podName(set, number)
		}) {
			return true
		}
	}
	return false
}
