package storage

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

func defaultStorageClass(c *storagev1.StorageClass) {
	fill.Nil(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	fill.Nil(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	fill.Nil(&d.Spec.AttachRequired, true)
	fill.Nil(&d.Spec.PodInfoOnMount, false)
	fill.Nil(&d.Spec.StorageCapacity, false)
	fill.Nil(&d.Spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	fill.Nil(&d.Spec.RequiresRepublish, false)
	fill.Nil(&d.Spec.SELinuxMount, false)
	fill.Nil(&d.Spec.PreventPodSchedulingIfMissing, false)
	if len(d.Spec.VolumeLifecycleModes) == 0 {
		d.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}
