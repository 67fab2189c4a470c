package admission

import (
	"context"
	"errors"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/storage"
)

// PodTopologyLabels tells pods in which zone and region they run: the labels of their node.
func PodTopologyLabels(o *Objects) Rule {
	return Rule{Name: "PodTopologyLabels", Mutate: func(ctx context.Context, a *Attributes) error {
		if a.Operation != Create {
			return nil
		}
		switch {
		case a.Is("", "pods", ""):
			pod := a.Object.(*corev1.Pod)
			if pod.Spec.NodeName == "" {
				return nil
			}
			return o.copyTopology(ctx, pod.Spec.NodeName, &pod.Labels)
		case a.Is("", "pods", "binding"):
			b := a.Object.(*corev1.Binding)
			if b.Target.Kind != "Node" {
				return nil
			}
			return o.copyTopology(ctx, b.Target.Name, &b.Labels)
		}
		return nil
	}}
}

func (o *Objects) copyTopology(ctx context.Context, node string, to *map[string]string) error {
	// Labels of a node that another server has just made are missed, as upstream's server misses them.
	found, err := ownView(ctx, o.Readers(core("nodes")), "", node)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	obj, err := shared(found, err, core("nodes"), node)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		if value, ok := obj.(*corev1.Node).Labels[key]; ok {
			labels[key] = value
		}
	}
	if len(labels) == 0 {
		return nil
	}
	if *to == nil {
		*to = map[string]string{}
	}
	maps.Copy(*to, labels)
	return nil
}
