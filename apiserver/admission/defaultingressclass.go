package admission

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// DefaultIngressClass gives an Ingress that names no class the default one.
func DefaultIngressClass(o *Objects) Rule {
	return Rule{Name: "DefaultIngressClass", Mutate: func(ctx context.Context, a *Attributes) error {
		if !a.Is(networkingv1.GroupName, "ingresses", "") || a.Operation != Create {
			return nil
		}
		ingress := a.Object.(*networkingv1.Ingress)
		if _, ok := ingress.Annotations["kubernetes.io/ingress.class"]; ok || ingress.Spec.IngressClassName != nil {
			return nil
		}
		list, err := o.list(ctx, schema.GroupResource{Group: networkingv1.GroupName, Resource: "ingressclasses"}, "")
		if err != nil {
			return forbidden(a, "%w", err)
		}
		var found *networkingv1.IngressClass
		for _, obj := range list {
			c := obj.(*networkingv1.IngressClass)
			if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" && (found == nil || newer(&c.ObjectMeta, &found.ObjectMeta)) {
				found = c
			}
		}
		if found != nil {
			name := found.Name
			ingress.Spec.IngressClassName = &name
		}
		return nil
	}}
}
