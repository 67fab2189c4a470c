package servicecidrs

import (
	"context"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	networkinglisters "k8s.io/client-go/listers/networking/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller guards ranges.
type Controller struct {
	env       control.Env
	ranges    networkinglisters.ServiceCIDRLister
	addresses networkinglisters.IPAddressLister
	loop      *control.Loop
}

// New answers the controller that guards ranges.
func New(env control.Env) *Controller {
	networking := env.Informers.Networking().V1()
	c := &Controller{env: env, ranges: networking.ServiceCIDRs().Lister(), addresses: networking.IPAddresses().Lister()}
	c.loop = control.NewLoop(env, "service-cidrs-controller", 1, c.reconcile)
	// A range's fate may hang on any other that overlaps it.
	control.Watch(c.loop, networking.ServiceCIDRs().Informer(), func(r *networkingv1.ServiceCIDR) []string {
		keys := []string{r.Name}
		for _, prefix := range prefixes(r) {
			keys = append(keys, c.overlapping(prefix)...)
		}
		return keys
	})
	control.WatchChanges(c.loop, networking.IPAddresses().Informer(), func(old, new **networkingv1.IPAddress) []string {
		if new != nil {
			return nil // only that one goes can make a difference
		}
		address, err := netip.ParseAddr((*old).Name)
		if err != nil {
			return nil
		}
		return c.overlapping(netip.PrefixFrom(address, address.BitLen()))
	})
	return c
}

// Run guards until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) overlapping(prefix netip.Prefix) []string {
	all, err := c.ranges.List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, r := range all {
		for _, p := range prefixes(r) {
			if p.Overlaps(prefix) {
				keys = append(keys, r.Name)
				break
			}
		}
	}
	return keys
}

func prefixes(r *networkingv1.ServiceCIDR) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range r.Spec.CIDRs {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			all = append(all, prefix)
		}
	}
	return all
}
