package servicecidrs

import (
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	finalizer = "networking.k8s.io/service-cidr-finalizer"
	allocator = "ipallocator.k8s.io"
	// settle is how long a deletion waits so that every API server knows of it and gives no more addresses of the range.
	settle = 10 * time.Second
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	r, err := c.ranges.Get(key)
	if err != nil {
		return nil
	}
	api := c.env.Client.NetworkingV1().ServiceCIDRs()
	guarded := slices.Contains(r.Finalizers, finalizer)
	switch {
	case r.DeletionTimestamp == nil && !guarded:
		updated := r.DeepCopy()
		updated.Finalizers = append(updated.Finalizers, finalizer)
		_, err = api.Update(ctx, updated, metav1.UpdateOptions{}) // the event of which leads to the condition
		return control.IgnoreNotFound(err)
	case r.DeletionTimestamp == nil:
		return c.setReady(ctx, r, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"})
	case !guarded:
		return nil
	}
	needed, err := c.needed(r)
	if err != nil {
		return err
	}
	if needed {
		return c.setReady(ctx, r, metav1.Condition{
			Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		})
	}
	if wait := settle - c.env.Clock.Since(r.DeletionTimestamp.Time); wait > 0 {
		return control.Again(wait)
	}
	updated := r.DeepCopy()
	updated.Finalizers = slices.DeleteFunc(updated.Finalizers, func(f string) bool { return f == finalizer })
	_, err = api.Update(ctx, updated, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}

func (c *Controller) setReady(ctx context.Context, r *networkingv1.ServiceCIDR, condition metav1.Condition) error {
	condition.Type, condition.LastTransitionTime = networkingv1.ServiceCIDRConditionReady, metav1.NewTime(c.env.Clock.Now())
	updated := r.DeepCopy()
	has := meta.FindStatusCondition(updated.Status.Conditions, condition.Type)
	if has != nil && has.Status == condition.Status && has.Reason == condition.Reason && has.Message == condition.Message {
		return nil
	}
	meta.SetStatusCondition(&updated.Status.Conditions, condition)
	_, err := c.env.Client.NetworkingV1().ServiceCIDRs().UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	if err != nil && r.DeletionTimestamp == nil {
		c.env.Events("service-cidrs-controller").Event(r, corev1.EventTypeWarning, "KubernetesServiceCIDRError", "The ServiceCIDR Status can not be set to Ready=True")
	}
	return control.IgnoreNotFound(err)
}

// needed says that an address of the range would belong to no range if it went.
func (c *Controller) needed(r *networkingv1.ServiceCIDR) (bool, error) {
	all, err := c.ranges.List(labels.Everything())
	if err != nil {
		return false, err
	}
	addresses, err := c.addresses.List(labels.SelectorFromSet(labels.Set{networkingv1.LabelManagedBy: allocator}))
	if err != nil {
		return false, err
	}
	return needed(r, all, addresses), nil
}

func needed(r *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR, addresses []*networkingv1.IPAddress) bool {
	covers := func(of *networkingv1.ServiceCIDR, address netip.Addr) bool {
		return slices.ContainsFunc(prefixes(of), func(p netip.Prefix) bool { return p.Contains(address) })
	}
	for _, a := range addresses {
		address, err := netip.ParseAddr(a.Name)
		if err != nil || !covers(r, address) {
			continue
		}
		if !slices.ContainsFunc(all, func(other *networkingv1.ServiceCIDR) bool { return other.Name != r.Name && covers(other, address) }) {
			return true
		}
	}
	return false
}
