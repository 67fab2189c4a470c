package core

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// PersistentVolume is a piece of storage in the cluster.
var PersistentVolume = kinds.Define(kinds.Row[*corev1.PersistentVolume]{
	Resource: "persistentvolumes", ReturnDeleted: true, ShortNames: []string{"pv"}, Generation: kinds.GenerationNever,
	Default: defaultPersistentVolume, PrepareCreate: preparePersistentVolume, PrepareStatus: stampPhase,
	Validate: validatePersistentVolume, Revalidate: true, ValidateUpdate: validatePersistentVolumeUpdate,
	ValidateStatus: validatePersistentVolumeStatus, Warnings: warnPersistentVolume,
	Columns: persistentVolumeColumns(),
})

func persistentVolumeColumns() []kinds.Column[*corev1.PersistentVolume] {
	spec, status := corev1.PersistentVolumeSpec{}, corev1.PersistentVolumeStatus{}
	return []kinds.Column[*corev1.PersistentVolume]{
		kinds.NameColumn[*corev1.PersistentVolume](),
		{Name: "Capacity", Description: kinds.Doc(spec, "capacity"), Cell: func(v *corev1.PersistentVolume) any { q := v.Spec.Capacity[corev1.ResourceStorage]; return q.String() }},
		{Name: "Access Modes", Description: kinds.Doc(spec, "accessModes"), Cell: func(v *corev1.PersistentVolume) any { return show.AccessModes(v.Spec.AccessModes) }},
		{Name: "Reclaim Policy", Description: kinds.Doc(spec, "persistentVolumeReclaimPolicy"), Cell: func(v *corev1.PersistentVolume) any { return string(v.Spec.PersistentVolumeReclaimPolicy) }},
		{Name: "Status", Description: kinds.Doc(status, "phase"), Cell: func(v *corev1.PersistentVolume) any {
			if v.DeletionTimestamp != nil {
				return "Terminating"
			}
			return string(v.Status.Phase)
		}},
		{Name: "Claim", Description: kinds.Doc(spec, "claimRef"), Cell: func(v *corev1.PersistentVolume) any {
			if c := v.Spec.ClaimRef; c != nil {
				return c.Namespace + "/" + c.Name
			}
			return ""
		}},
		{Name: "StorageClass", Description: "StorageClass of the pv", Cell: func(v *corev1.PersistentVolume) any {
			if class, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				return class
			}
			return v.Spec.StorageClassName
		}},
		{Name: "VolumeAttributesClass", Description: "VolumeAttributesClass of the pv", Cell: func(v *corev1.PersistentVolume) any {
			return show.Text(v.Spec.VolumeAttributesClassName, "<unset>")
		}},
		{Name: "Reason", Description: kinds.Doc(status, "reason"), Cell: func(v *corev1.PersistentVolume) any { return v.Status.Reason }},
		kinds.AgeColumn[*corev1.PersistentVolume](),
		{Name: "VolumeMode", Priority: 1, Description: kinds.Doc(spec, "volumeMode"), Cell: func(v *corev1.PersistentVolume) any { return show.Text(v.Spec.VolumeMode, "<unset>") }},
	}
}
