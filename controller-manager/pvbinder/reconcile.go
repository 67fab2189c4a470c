package pvbinder

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(binding); err != nil {
		return err
	}
	if !strings.Contains(key, "/") {
		volume, err := c.volumes.Get(key)
		if err != nil {
			return nil
		}
		return c.volume(ctx, volume)
	}
	namespace, name := control.SplitKey(key)
	claim, err := c.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil || claim.DeletionTimestamp != nil {
		return nil
	}
	return c.claim(ctx, claim)
}

// claim takes a claim one step further.
func (c *Controller) claim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Annotations[bindCompleted] != "" {
		return c.bound(ctx, claim)
	}
	if claim.Spec.VolumeName != "" {
		volume, err := c.volumes.Get(claim.Spec.VolumeName)
		switch {
		case err != nil:
			return c.setClaimPhase(ctx, claim, corev1.ClaimPending) // it was asked for by name and may yet come
		case volume.Spec.ClaimRef == nil || refersTo(volume, claim):
			return c.bind(ctx, claim, volume)
		}
		return c.setClaimPhase(ctx, claim, corev1.ClaimPending) // somebody else has it
	}
	class, _ := c.classes.Get(claimClass(claim))
	volumes, err := c.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	delayed := class != nil && ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer && claim.Annotations[selectedNode] == ""
	if delayed {
		// The scheduler chooses the volume together with the node; only one that was set aside is bound before.
		for _, volume := range volumes {
			if refersTo(volume, claim) {
				return c.bind(ctx, claim, volume)
			}
		}
		c.events.Event(claim, corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
		return c.setClaimPhase(ctx, claim, corev1.ClaimPending)
	}
	if volume := match(claim, volumes); volume != nil {
		return c.bind(ctx, claim, volume)
	}
	return c.askProvisioner(ctx, claim, class)
}

// askProvisioner names the provisioner on the claim, which is how that learns of it.
func (c *Controller) askProvisioner(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	switch {
	case claimClass(claim) == "":
		c.events.Event(claim, corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	case class == nil:
		c.events.Eventf(claim, corev1.EventTypeWarning, "ProvisioningFailed", "storageclass.storage.k8s.io %q not found", claimClass(claim))
	case class.Provisioner == noProvisioner:
		c.events.Event(claim, corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	default:
		if claim.Annotations[provisionerKey] != class.Provisioner {
			updated := claim.DeepCopy()
			if updated.Annotations == nil {
				updated.Annotations = map[string]string{}
			}
			updated.Annotations[provisionerKey], updated.Annotations[provisionerBetaKey] = class.Provisioner, class.Provisioner
			var err error
			if claim, err = c.updateClaim(ctx, updated); err != nil {
				return control.IgnoreNotFound(err)
			}
		}
		c.events.Eventf(claim, corev1.EventTypeNormal, "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner)
	}
	return c.setClaimPhase(ctx, claim, corev1.ClaimPending)
}

// bind writes what is missing of the four things that make a binding.
func (c *Controller) bind(ctx context.Context, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	if volume.DeletionTimestamp != nil {
		return c.setClaimPhase(ctx, claim, corev1.ClaimPending)
	}
	if ref := volume.Spec.ClaimRef; ref == nil || ref.UID != claim.UID {
		updated := volume.DeepCopy()
		updated.Spec.ClaimRef = &corev1.ObjectReference{
			Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
		}
		if ref == nil {
			if updated.Annotations == nil {
				updated.Annotations = map[string]string{}
			}
			updated.Annotations[boundByUs] = "yes"
		}
		written, err := c.env.Client.CoreV1().PersistentVolumes().Update(ctx, updated, metav1.UpdateOptions{})
		if err != nil {
			return control.IgnoreNotFound(err)
		}
		c.writes.Wrote(binding, c.volumeStore, written)
		volume = written
	}
	if err := c.setVolumePhase(ctx, volume, corev1.VolumeBound); err != nil {
		return err
	}
	if claim.Spec.VolumeName != volume.Name || claim.Annotations[bindCompleted] == "" {
		updated := claim.DeepCopy()
		if updated.Annotations == nil {
			updated.Annotations = map[string]string{}
		}
		if updated.Spec.VolumeName != volume.Name {
			updated.Spec.VolumeName = volume.Name
			updated.Annotations[boundByUs] = "yes"
		}
		updated.Annotations[bindCompleted] = "yes"
		var err error
		if claim, err = c.updateClaim(ctx, updated); err != nil {
			return control.IgnoreNotFound(err)
		}
	}
	return c.setBound(ctx, claim, volume)
}

// bound looks after a claim whose binding is complete: its volume may have been taken away.
func (c *Controller) bound(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	volume, err := c.volumes.Get(claim.Spec.VolumeName)
	switch {
	case err != nil:
		if claim.Status.Phase != corev1.ClaimLost {
			c.events.Event(claim, corev1.EventTypeWarning, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
		}
		return c.setClaimPhase(ctx, claim, corev1.ClaimLost)
	case volume.Spec.ClaimRef == nil || volume.Spec.ClaimRef.UID == claim.UID:
		return c.bind(ctx, claim, volume)
	}
	if claim.Status.Phase != corev1.ClaimLost {
		c.events.Event(claim, corev1.EventTypeWarning, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	}
	return c.setClaimPhase(ctx, claim, corev1.ClaimLost)
}

// volume keeps a volume's phase true.
func (c *Controller) volume(ctx context.Context, volume *corev1.PersistentVolume) error {
	ref := volume.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return c.setVolumePhase(ctx, volume, corev1.VolumeAvailable)
	}
	claim, err := c.claims.PersistentVolumeClaims(ref.Namespace).Get(ref.Name)
	if err != nil || claim.UID != ref.UID {
		// Only the server's word is good enough to call a volume released: what comes after is its deletion.
		live, err := c.env.Client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if err != nil || live.UID != ref.UID {
			return c.setVolumePhase(ctx, volume, corev1.VolumeReleased)
		}
		return nil // the cache is about to show it
	}
	if claim.Spec.VolumeName == volume.Name {
		return c.setVolumePhase(ctx, volume, corev1.VolumeBound)
	}
	if claim.Spec.VolumeName == "" {
		c.loop.Add(control.Key(claim.Namespace, claim.Name)) // half bound
		return nil
	}
	if volume.Annotations[boundByUs] == "" {
		return c.setVolumePhase(ctx, volume, corev1.VolumeAvailable) // set aside by a person for a claim that took another
	}
	updated := volume.DeepCopy()
	updated.Spec.ClaimRef = nil
	delete(updated.Annotations, boundByUs)
	written, err := c.env.Client.CoreV1().PersistentVolumes().Update(ctx, updated, metav1.UpdateOptions{})
	if err != nil {
		return control.IgnoreNotFound(err)
	}
	c.writes.Wrote(binding, c.volumeStore, written)
	return nil
}

func (c *Controller) updateClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	written, err := c.env.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Update(ctx, claim, metav1.UpdateOptions{})
	if err == nil {
		c.writes.Wrote(binding, c.claimStore, written)
	}
	return written, err
}

func (c *Controller) setBound(ctx context.Context, claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) error {
	updated := claim.DeepCopy()
	updated.Status.Phase, updated.Status.AccessModes = corev1.ClaimBound, volume.Spec.AccessModes
	updated.Status.CurrentVolumeAttributesClassName = volume.Spec.VolumeAttributesClassName
	if len(claim.Status.Capacity) == 0 {
		updated.Status.Capacity = volume.Spec.Capacity.DeepCopy() // later it is who resizes that says how large it is
	}
	return c.writeClaimStatus(ctx, claim, updated)
}

func (c *Controller) setClaimPhase(ctx context.Context, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase) error {
	updated := claim.DeepCopy()
	updated.Status.Phase = phase
	if phase == corev1.ClaimPending {
		updated.Status.AccessModes, updated.Status.Capacity = nil, nil
	}
	return c.writeClaimStatus(ctx, claim, updated)
}

func (c *Controller) writeClaimStatus(ctx context.Context, before, after *corev1.PersistentVolumeClaim) error {
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return nil
	}
	written, err := c.env.Client.CoreV1().PersistentVolumeClaims(after.Namespace).UpdateStatus(ctx, after, metav1.UpdateOptions{})
	if err != nil {
		return control.IgnoreNotFound(err)
	}
	c.writes.Wrote(binding, c.claimStore, written)
	return nil
}

func (c *Controller) setVolumePhase(ctx context.Context, volume *corev1.PersistentVolume, phase corev1.PersistentVolumePhase) error {
	if volume.Status.Phase == phase {
		return nil
	}
	updated := volume.DeepCopy()
	updated.Status.Phase, updated.Status.Message = phase, ""
	updated.Status.LastPhaseTransitionTime = ptr.To(metav1.NewTime(c.env.Clock.Now()))
	written, err := c.env.Client.CoreV1().PersistentVolumes().UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if err != nil {
		return control.IgnoreNotFound(err)
	}
	c.writes.Wrote(binding, c.volumeStore, written)
	return nil
}
