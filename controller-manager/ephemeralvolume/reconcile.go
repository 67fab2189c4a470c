package ephemeralvolume

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	pod, err := c.pods.Pods(namespace).Get(name)
	if err != nil || pod.DeletionTimestamp != nil {
		return nil
	}
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Ephemeral == nil {
			continue
		}
		if err := c.ensure(ctx, pod, &pod.Spec.Volumes[i]); err != nil {
			c.events.Event(pod, corev1.EventTypeWarning, "FailedBinding", fmt.Sprintf("ephemeral volume %s: %v", pod.Spec.Volumes[i].Name, err))
			return err
		}
	}
	return nil
}

func (c *Controller) ensure(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	wanted := claim(pod, volume)
	there, err := c.claims.PersistentVolumeClaims(pod.Namespace).Get(wanted.Name)
	if apierrors.IsNotFound(err) {
		if _, err = c.env.Client.CoreV1().PersistentVolumeClaims(pod.Namespace).Create(ctx, wanted, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create PVC %s: %w", wanted.Name, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if !metav1.IsControlledBy(there, pod) {
		return fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", there.Namespace, there.Name, pod.Namespace, pod.Name)
	}
	return nil
}

// claim answers the claim of a volume. Its name is derived, so it cannot be made twice.
func claim(pod *corev1.Pod, volume *corev1.Volume) *corev1.PersistentVolumeClaim {
	template := volume.Ephemeral.VolumeClaimTemplate
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name + "-" + volume.Name,
			Labels: maps.Clone(template.Labels), Annotations: maps.Clone(template.Annotations),
			OwnerReferences: []metav1.OwnerReference{control.Reference(pod, podKind)},
		},
		Spec: *template.Spec.DeepCopy(),
	}
}
