package vacprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const finalizer = "kubernetes.io/vac-protection"

func (c *Controller) reconcile(ctx context.Context, name string) error {
	class, err := c.classes.Get(name)
	if err != nil {
		return nil
	}
	updated := class.DeepCopy()
	switch guarded := slices.Contains(class.Finalizers, finalizer); {
	case class.DeletionTimestamp == nil && !guarded:
		updated.Finalizers = append(updated.Finalizers, finalizer)
	case class.DeletionTimestamp != nil && guarded:
		if used, err := c.used(name); used || err != nil {
			return err
		}
		updated.Finalizers = slices.DeleteFunc(updated.Finalizers, func(f string) bool { return f == finalizer })
	default:
		return nil
	}
	_, err = c.env.Client.StorageV1().VolumeAttributesClasses().Update(ctx, updated, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}

// used says whether a volume or a claim names the class.
func (c *Controller) used(name string) (bool, error) {
	volumes, err := c.volumes.List(labels.Everything())
	if err != nil {
		return false, err
	}
	claims, err := c.claims.List(labels.Everything())
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(volumes, func(v *corev1.PersistentVolume) bool { return slices.Contains(ofVolume(v), name) }) ||
		slices.ContainsFunc(claims, func(p *corev1.PersistentVolumeClaim) bool { return slices.Contains(ofClaim(p), name) }), nil
}
