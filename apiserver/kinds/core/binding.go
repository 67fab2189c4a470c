package core

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Binding puts a pod on a node: the old path, which names the pod in the body.
var Binding = kinds.DefineVirtual("bindings", kinds.Namespaced, nil,
	func(ctx context.Context, store kinds.Store, req *kinds.Request, namespace string, b *corev1.Binding) (runtime.Object, error) {
		return bind(ctx, store, req, namespace, b.Name, b)
	})

// bindingDoor is pods/binding, which the scheduler uses.
var bindingDoor = &kinds.Subresource{
	GVK: corev1.SchemeGroupVersion.WithKind("Binding"), Verbs: []string{"create"},
	Create: &kinds.CreateDoor{
		New: func() runtime.Object { return &corev1.Binding{} },
		Do: func(ctx context.Context, store kinds.Store, req *kinds.Request, namespace, name string, obj runtime.Object) (runtime.Object, error) {
			b := obj.(*corev1.Binding)
			if b.Name != "" && b.Name != name {
				return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
			}
			return bind(ctx, store, req, namespace, name, b)
		},
	},
}

// bind gives the pod its node. A pod is bound once: whoever comes second, or to a pod on its way out, gets a conflict.
func bind(ctx context.Context, store kinds.Store, req *kinds.Request, namespace, name string, b *corev1.Binding) (runtime.Object, error) {
	if errs := validateBinding(b); len(errs) > 0 {
		return nil, invalidBinding(b, errs)
	}
	_, err := store.Update(ctx, store.Kind(corev1.Resource("pods")), namespace, name, req.DryRun, func(obj runtime.Object) error {
		pod := obj.(*corev1.Pod)
		if err := mayBind(pod, b); err != nil {
			return apierrors.NewConflict(corev1.Resource("pods/binding"), name, err)
		}
		pod.Spec.NodeName = b.Target.Name
		for k, v := range b.Annotations {
			if pod.Annotations == nil {
				pod.Annotations = map[string]string{}
			}
			pod.Annotations[k] = v
		}
		for k, v := range b.Labels {
			if pod.Labels == nil {
				pod.Labels = map[string]string{}
			}
			pod.Labels[k] = v
		}
		// A pod that has its node waits for no other.
		pod.Status.NominatedNodeName = ""
		setPodCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, metav1.NewTime(req.Now))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

func mayBind(pod *corev1.Pod, b *corev1.Binding) error {
	switch {
	case b.UID != "" && b.UID != pod.UID:
		return fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, pod.UID)
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	return nil
}

func validateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), ""))
	}
	return errs
}

func invalidBinding(b *corev1.Binding, errs field.ErrorList) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), b.Name, errs)
}

// setPodCondition sets a condition of a pod; the transition time moves only if the status does.
func setPodCondition(pod *corev1.Pod, c corev1.PodCondition, now metav1.Time) {
	c.LastTransitionTime = now
	for i := range pod.Status.Conditions {
		have := &pod.Status.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}
