package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var priorityClasses = schema.GroupResource{Group: schedulingv1.GroupName, Resource: "priorityclasses"}

// Priority turns the name of a pod's priority class into a number, which the scheduler compares.
func Priority(o *Objects) Rule {
	return Rule{Name: "Priority", Mutate: o.setPriority, Validate: o.oneDefaultPriority}
}

func (o *Objects) setPriority(ctx context.Context, a *Attributes) error {
	if !a.Is("", "pods", "") {
		return nil
	}
	switch a.Operation {
	case Update:
		pod, old := a.Object.(*corev1.Pod), a.Old.(*corev1.Pod)
		if pod.Spec.Priority == nil {
			pod.Spec.Priority = old.Spec.Priority
		}
		if pod.Spec.PreemptionPolicy == nil {
			pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
		}
	case Create:
		return o.newPriority(ctx, a, a.Object.(*corev1.Pod))
	}
	return nil
}

func (o *Objects) newPriority(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	class, err := o.priorityClass(ctx, pod.Spec.PriorityClassName)
	if apierrors.IsNotFound(err) {
		return forbidden(a, "no PriorityClass with name %v was found", pod.Spec.PriorityClassName)
	}
	if err != nil {
		return err
	}
	value, policy := int32(0), corev1.PreemptLowerPriority
	if class != nil {
		pod.Spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if p := pod.Spec.Priority; p != nil && *p != value {
		return forbidden(a, "the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *p, value)
	}
	if p := pod.Spec.PreemptionPolicy; p != nil && *p != policy {
		return forbidden(a, "the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *p, policy)
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// priorityClass is the class of a name, or for none the default one: the lowest, if several say that they are it. Nil:
// there is none.
func (o *Objects) priorityClass(ctx context.Context, name string) (*schedulingv1.PriorityClass, error) {
	if name != "" {
		obj, err := o.get(ctx, priorityClasses, "", name)
		if err != nil {
			return nil, err
		}
		return obj.(*schedulingv1.PriorityClass), nil
	}
	list, err := o.list(ctx, priorityClasses, "")
	if err != nil {
		return nil, err
	}
	var out *schedulingv1.PriorityClass
	for _, obj := range list {
		if c := obj.(*schedulingv1.PriorityClass); c.GlobalDefault && (out == nil || c.Value < out.Value) {
			out = c
		}
	}
	return out, nil
}

func (o *Objects) oneDefaultPriority(ctx context.Context, a *Attributes) error {
	if !a.Is(schedulingv1.GroupName, "priorityclasses", "") || a.Operation != Create && a.Operation != Update {
		return nil
	}
	class := a.Object.(*schedulingv1.PriorityClass)
	if !class.GlobalDefault {
		return nil
	}
	other, err := o.priorityClass(ctx, "")
	if err != nil {
		return fmt.Errorf("failed to get default priority class: %w", err)
	}
	// Moving the value of the default itself is allowed.
	if other != nil && (a.Operation == Create || other.Name != class.Name) {
		return forbidden(a, "PriorityClass %v is already marked as default. Only one default can exist", other.Name)
	}
	return nil
}
