package pvbinder

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

const (
	bindCompleted  = "pv.kubernetes.io/bind-completed"
	boundByUs      = "pv.kubernetes.io/bound-by-controller"
	selectedNode   = "volume.kubernetes.io/selected-node"
	provisionerKey = "volume.kubernetes.io/storage-provisioner"
	// provisionerBetaKey is what older provisioners look for.
	provisionerBetaKey = "volume.beta.kubernetes.io/storage-provisioner"
	noProvisioner      = "kubernetes.io/no-provisioner"
)

func claimClass(claim *corev1.PersistentVolumeClaim) string {
	if old, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return old
	}
	return ptr.Deref(claim.Spec.StorageClassName, "")
}

func volumeClass(volume *corev1.PersistentVolume) string {
	if old, ok := volume.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return old
	}
	return volume.Spec.StorageClassName
}

// refersTo says that volume names claim: not only one of its name.
func refersTo(volume *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	ref := volume.Spec.ClaimRef
	return ref != nil && ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == "" || ref.UID == claim.UID)
}

// match answers the volume for a claim: one that was set aside for it, or the smallest that will do; nil if there is none.
func match(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume) *corev1.PersistentVolume {
	selector := labels.Everything()
	if claim.Spec.Selector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(claim.Spec.Selector); err != nil {
			return nil
		}
	}
	asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	var best *corev1.PersistentVolume
	for _, volume := range volumes {
		size := volume.Spec.Capacity[corev1.ResourceStorage]
		if !fits(claim, volume) || size.Cmp(asked) < 0 {
			continue
		}
		if refersTo(volume, claim) {
			return volume
		}
		if volume.Spec.ClaimRef != nil || volumeClass(volume) != claimClass(claim) || !selector.Matches(labels.Set(volume.Labels)) ||
			(volume.Status.Phase != corev1.VolumeAvailable && volume.Status.Phase != corev1.VolumePending && volume.Status.Phase != "") {
			continue
		}
		if best == nil {
			best = volume
			continue
		}
		smallest := best.Spec.Capacity[corev1.ResourceStorage]
		if order := size.Cmp(smallest); order < 0 || (order == 0 && volume.Name < best.Name) {
			best = volume
		}
	}
	return best
}

// fits says that a volume can be used as the claim wants to.
func fits(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) bool {
	if volume.DeletionTimestamp != nil || ptr.Deref(claim.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) != ptr.Deref(volume.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) ||
		ptr.Deref(claim.Spec.VolumeAttributesClassName, "") != ptr.Deref(volume.Spec.VolumeAttributesClassName, "") {
		return false
	}
	for _, mode := range claim.Spec.AccessModes {
		if !slices.Contains(volume.Spec.AccessModes, mode) {
			return false
		}
	}
	return true
}
