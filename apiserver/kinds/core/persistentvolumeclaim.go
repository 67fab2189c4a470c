package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// PersistentVolumeClaim asks for storage on behalf of pods.
var PersistentVolumeClaim = kinds.Define(kinds.Row[*corev1.PersistentVolumeClaim]{
	Resource: "persistentvolumeclaims", ReturnDeleted: true, ShortNames: []string{"pvc"}, Scope: kinds.Namespaced, Generation: kinds.GenerationNever,
	Default: defaultPersistentVolumeClaim, PrepareCreate: preparePersistentVolumeClaim, PrepareUpdate: preparePersistentVolumeClaimUpdate,
	PrepareStatus: dropHealth, Validate: validatePersistentVolumeClaim, ValidateUpdate: validatePersistentVolumeClaimUpdate,
	ValidateStatus: validatePersistentVolumeClaimStatus, Warnings: warnPersistentVolumeClaim,
	Columns: persistentVolumeClaimColumns(),
})

func persistentVolumeClaimColumns() []kinds.Column[*corev1.PersistentVolumeClaim] {
	spec, status := corev1.PersistentVolumeClaimSpec{}, corev1.PersistentVolumeClaimStatus{}
	return []kinds.Column[*corev1.PersistentVolumeClaim]{
		kinds.NameColumn[*corev1.PersistentVolumeClaim](),
		{Name: "Status", Description: kinds.Doc(status, "phase"), Cell: func(c *corev1.PersistentVolumeClaim) any {
			if c.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(c.Status.Phase)
		}},
		{Name: "Volume", Description: kinds.Doc(spec, "volumeName"), Cell: func(c *corev1.PersistentVolumeClaim) any { return c.Spec.VolumeName }},
		// What a claim has shows once it is bound.
		{Name: "Capacity", Description: kinds.Doc(status, "capacity"), Cell: func(c *corev1.PersistentVolumeClaim) any {
			if c.Spec.VolumeName == "" {
				return ""
			}
			q := c.Status.Capacity[corev1.ResourceStorage]
			return q.String()
		}},
		{Name: "Access Modes", Description: kinds.Doc(status, "accessModes"), Cell: func(c *corev1.PersistentVolumeClaim) any {
			if c.Spec.VolumeName == "" {
				return ""
			}
			return show.AccessModes(c.Status.AccessModes)
		}},
		{Name: "StorageClass", Description: "StorageClass of the pvc", Cell: func(c *corev1.PersistentVolumeClaim) any {
			if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			return show.Text(c.Spec.StorageClassName, "")
		}},
		{Name: "VolumeAttributesClass", Description: "VolumeAttributesClass of the pvc", Cell: func(c *corev1.PersistentVolumeClaim) any {
			return show.Text(c.Spec.VolumeAttributesClassName, "<unset>")
		}},
		kinds.AgeColumn[*corev1.PersistentVolumeClaim](),
		{Name: "VolumeMode", Priority: 1, Description: kinds.Doc(spec, "volumeMode"), Cell: func(c *corev1.PersistentVolumeClaim) any { return show.Text(c.Spec.VolumeMode, "<unset>") }},
	}
}
