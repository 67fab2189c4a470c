package pvcprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const finalizer = "kubernetes.io/pvc-protection"

func (c *Controller) reconcile(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	claim, err := c.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return nil
	}
	guarded := slices.Contains(claim.Finalizers, finalizer)
	api := c.env.Client.CoreV1().PersistentVolumeClaims(namespace)
	switch {
	case claim.DeletionTimestamp == nil && !guarded:
		updated := claim.DeepCopy()
		updated.Finalizers = append(updated.Finalizers, finalizer)
		_, err := api.Update(ctx, updated, metav1.UpdateOptions{})
		return control.IgnoreNotFound(err)
	case claim.DeletionTimestamp == nil || !guarded:
		return nil
	}
	used, err := c.used(ctx, claim)
	if used || err != nil {
		return err
	}
	updated := claim.DeepCopy()
	updated.Finalizers = slices.DeleteFunc(updated.Finalizers, func(f string) bool { return f == finalizer })
	_, err = api.Update(ctx, updated, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}

// used asks the cache first, which is enough to keep a claim, and then the server, without which none may go.
func (c *Controller) used(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	cached, err := c.pods.Pods(claim.Namespace).List(labels.Everything())
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(cached, func(pod *corev1.Pod) bool { return uses(pod, claim) }) {
		return true, nil
	}
	live, err := c.env.Client.CoreV1().Pods(claim.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(live.Items, func(pod corev1.Pod) bool { return uses(&pod, claim) }), nil
}

// uses says that a node may have pod's containers on claim. A pod that is not bound does not count: no node starts a pod
// whose claim is being deleted.
func uses(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if pod.Spec.NodeName == "" {
		return false
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name:
			return true
		case v.Ephemeral != nil && pod.Name+"-"+v.Name == claim.Name && !control.Ended(pod) && metav1.IsControlledBy(claim, pod):
			return true
		}
	}
	return false
}

func claimsOf(pod *corev1.Pod) []string {
	var keys []string
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			keys = append(keys, control.Key(pod.Namespace, v.PersistentVolumeClaim.ClaimName))
		case v.Ephemeral != nil:
			keys = append(keys, control.Key(pod.Namespace, pod.Name+"-"+v.Name))
		}
	}
	return keys
}
