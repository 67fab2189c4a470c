package disruption

import (
	"context"
	"encoding/json"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/discovered"
)

// expected answers how many pods the workloads want to which the pods belong, and which pods belong to none.
func (c *Controller) expected(ctx context.Context, pods []*corev1.Pod) (total int32, unmanaged []string, err error) {
	wanted := map[types.UID]int32{}
	asked := map[types.UID]bool{}
	for _, pod := range pods {
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil {
			unmanaged = append(unmanaged, pod.Name)
			continue
		}
		if asked[ref.UID] {
			continue
		}
		asked[ref.UID] = true
		uid, n, found, err := c.scaleOf(ctx, pod.Namespace, ref)
		if err != nil {
			return 0, nil, err
		}
		if !found {
			return 0, nil, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		wanted[uid] = n
	}
	for _, n := range wanted {
		total += n
	}
	return total, unmanaged, nil
}

// scaleOf answers the workload behind a controller reference (a Deployment behind its ReplicaSets) and what it wants.
func (c *Controller) scaleOf(ctx context.Context, namespace string, ref *metav1.OwnerReference) (types.UID, int32, bool, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", 0, false, err
	}
	apps := c.workloads.Apps().V1()
	switch (schema.GroupKind{Group: gv.Group, Kind: ref.Kind}) {
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}:
		set, err := apps.ReplicaSets().Lister().ReplicaSets(namespace).Get(ref.Name)
		if err != nil || set.UID != ref.UID {
			return "", 0, false, nil
		}
		if owner := metav1.GetControllerOfNoCopy(set); owner != nil && owner.Kind == "Deployment" {
			d, err := apps.Deployments().Lister().Deployments(namespace).Get(owner.Name)
			if err != nil || d.UID != owner.UID {
				return "", 0, false, nil
			}
			return d.UID, ptr.Deref(d.Spec.Replicas, 1), true, nil
		}
		return set.UID, ptr.Deref(set.Spec.Replicas, 1), true, nil
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		set, err := apps.StatefulSets().Lister().StatefulSets(namespace).Get(ref.Name)
		if err != nil || set.UID != ref.UID {
			return "", 0, false, nil
		}
		return set.UID, ptr.Deref(set.Spec.Replicas, 1), true, nil
	case schema.GroupKind{Kind: "ReplicationController"}:
		rc, err := c.workloads.Core().V1().ReplicationControllers().Lister().ReplicationControllers(namespace).Get(ref.Name)
		if err != nil || rc.UID != ref.UID {
			return "", 0, false, nil
		}
		return rc.UID, ptr.Deref(rc.Spec.Replicas, 1), true, nil
	}
	return c.askScale(ctx, namespace, gv.Group, ref)
}

// askScale reads the scale of a workload of any other kind, custom ones included.
func (c *Controller) askScale(ctx context.Context, namespace, group string, ref *metav1.OwnerReference) (types.UID, int32, bool, error) {
	resources, err := discovered.List(c.env.Discovery)
	if err != nil && len(resources) == 0 {
		return "", 0, false, err
	}
	for _, r := range resources {
		if r.Group != group || r.Kind != ref.Kind {
			continue
		}
		base := "/apis/" + r.Group + "/" + r.Version
		if r.Group == "" {
			base = "/api/" + r.Version
		}
		body, err := c.env.Client.Discovery().RESTClient().Get().
			AbsPath(base, "namespaces", namespace, r.Resource, ref.Name, "scale").SetHeader("Accept", "application/json").Do(ctx).Raw()
		if apierrors.IsNotFound(err) {
			if _, err := c.env.Metadata.Resource(r.GroupVersionResource).Namespace(namespace).Get(ctx, ref.Name, metav1.GetOptions{}); err == nil {
				return "", 0, false, fmt.Errorf("%s does not implement the scale subresource", r.GroupResource())
			}
			return "", 0, false, nil
		}
		if err != nil {
			return "", 0, false, err
		}
		var scale autoscalingv1.Scale
		if err := json.Unmarshal(body, &scale); err != nil {
			return "", 0, false, err
		}
		return scale.UID, scale.Spec.Replicas, scale.UID == ref.UID, nil
	}
	return "", 0, false, fmt.Errorf("no matches for kind %q in group %q", ref.Kind, group)
}
