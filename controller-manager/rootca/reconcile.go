package rootca

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	mapName = "kube-root-ca.crt"
	fileKey = "ca.crt"

	descriptionKey = "kubernetes.io/description"
	description    = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

func (c *Controller) reconcile(ctx context.Context, namespace string) error {
	ns, err := c.namespaces.Get(namespace)
	if err != nil || ns.Status.Phase != corev1.NamespaceActive {
		return nil
	}
	current, err := c.maps.ConfigMaps(namespace).Get(mapName)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	wanted, write := plan(namespace, current, c.authority)
	if !write {
		return nil
	}
	api := c.env.Client.CoreV1().ConfigMaps(namespace)
	if current == nil {
		_, err = api.Create(ctx, wanted, metav1.CreateOptions{})
		switch {
		case apierrors.IsAlreadyExists(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause), apierrors.IsNotFound(err):
			return nil
		}
		return err
	}
	_, err = api.Update(ctx, wanted, metav1.UpdateOptions{})
	return err
}

// plan answers the map that namespace should have, and whether that has to be written. current may be nil.
func plan(namespace string, current *corev1.ConfigMap, authority string) (*corev1.ConfigMap, bool) {
	data := map[string]string{fileKey: authority}
	if current != nil && maps.Equal(current.Data, data) && current.Annotations[descriptionKey] != "" {
		return nil, false
	}
	wanted := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: mapName, Namespace: namespace}}
	if current != nil {
		wanted = current.DeepCopy()
	}
	if wanted.Annotations == nil {
		wanted.Annotations = map[string]string{}
	}
	wanted.Annotations[descriptionKey] = description
	wanted.Data = data
	return wanted, true
}
