package admission

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// RuntimeClass gives pods of a runtime class what it costs and where it is.
func RuntimeClass(o *Objects) Rule {
	return Rule{
		Name: "RuntimeClass",
		Mutate: func(ctx context.Context, a *Attributes) error {
			class, err := o.runtimeClass(ctx, a)
			if class == nil || err != nil {
				return err
			}
			pod := a.Object.(*corev1.Pod)
			if class.Overhead != nil {
				if len(pod.Spec.Overhead) > 0 && !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
					return forbidden(a, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
				}
				pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
			}
			return schedule(a, pod, class.Scheduling)
		},
		Validate: func(ctx context.Context, a *Attributes) error {
			class, err := o.runtimeClass(ctx, a)
			if err != nil || !a.Is("", "pods", "") || a.Operation != Create {
				return err
			}
			pod := a.Object.(*corev1.Pod)
			switch {
			case class != nil && class.Overhead != nil:
				if !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
					return forbidden(a, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
				}
			case pod.Spec.Overhead != nil:
				return forbidden(a, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
			}
			return nil
		},
	}
}

// runtimeClass is the class of a new pod; nil for none.
func (o *Objects) runtimeClass(ctx context.Context, a *Attributes) (*nodev1.RuntimeClass, error) {
	if !a.Is("", "pods", "") || a.Operation != Create {
		return nil, nil
	}
	name := a.Object.(*corev1.Pod).Spec.RuntimeClassName
	if name == nil {
		return nil, nil
	}
	obj, err := o.get(ctx, schema.GroupResource{Group: nodev1.GroupName, Resource: "runtimeclasses"}, "", *name)
	if apierrors.IsNotFound(err) {
		return nil, forbidden(a, "pod rejected: RuntimeClass %q not found", *name)
	}
	if err != nil {
		return nil, err
	}
	return obj.(*nodev1.RuntimeClass), nil
}

func schedule(a *Attributes, pod *corev1.Pod, s *nodev1.Scheduling) error {
	if s == nil {
		return nil
	}
	selector := maps.Clone(pod.Spec.NodeSelector)
	if selector == nil {
		selector = maps.Clone(s.NodeSelector)
	}
	for key, value := range s.NodeSelector {
		if own, ok := selector[key]; ok && own != value {
			return forbidden(a, "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, own)
		}
		selector[key] = value
	}
	pod.Spec.NodeSelector = selector
	pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, s.Tolerations)
	return nil
}

// mergeTolerations leaves out each toleration that another one covers.
func mergeTolerations(first, second []corev1.Toleration) []corev1.Toleration {
	all := append(append([]corev1.Toleration{}, first...), second...)
	var out []corev1.Toleration
next:
	for i, t := range all {
		for _, have := range out {
			if covers(have, t) {
				continue next
			}
		}
		for _, later := range all[i+1:] {
			if !apiequality.Semantic.DeepEqual(t, later) && covers(later, t) {
				continue next
			}
		}
		out = append(out, t)
	}
	return out
}

// covers says whether big tolerates all that small does.
func covers(big, small corev1.Toleration) bool {
	switch {
	case apiequality.Semantic.DeepEqual(big, small):
		return true
	case small.Key != big.Key && (big.Key != "" || big.Operator != corev1.TolerationOpExists),
		small.Effect != big.Effect && big.Effect != "",
		big.Effect == corev1.TaintEffectNoExecute && big.TolerationSeconds != nil &&
			(small.TolerationSeconds == nil || *small.TolerationSeconds > *big.TolerationSeconds):
		return false
	}
	switch big.Operator {
	case corev1.TolerationOpEqual, "":
		return small.Operator == corev1.TolerationOpEqual && small.Value == big.Value
	case corev1.TolerationOpExists:
		return true
	}
	return false
}
