package pvprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const finalizer = "kubernetes.io/pv-protection"

func (c *Controller) reconcile(ctx context.Context, key string) error {
	volume, err := c.volumes.Get(key)
	if err != nil {
		return nil
	}
	updated := volume.DeepCopy()
	switch guarded := slices.Contains(volume.Finalizers, finalizer); {
	case volume.DeletionTimestamp == nil && !guarded:
		updated.Finalizers = append(updated.Finalizers, finalizer)
	case volume.DeletionTimestamp != nil && guarded && volume.Status.Phase != corev1.VolumeBound:
		updated.Finalizers = slices.DeleteFunc(updated.Finalizers, func(f string) bool { return f == finalizer })
	default:
		return nil
	}
	_, err = c.env.Client.CoreV1().PersistentVolumes().Update(ctx, updated, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}
