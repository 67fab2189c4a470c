package alloc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Errors are worded as upstream does; users see them in refusals.
var (
	// ErrFull: nothing is left.
	ErrFull = errors.New("range is full")
	// ErrTaken: the address is somebody else's.
	ErrTaken = errors.New("provided IP is already allocated")
	// ErrElsewhere: no range has the address.
	ErrElsewhere = errors.New("the provided network does not match the current range")
)

// managedBy marks the IPAddress objects that are Services', whichever server made them.
const managedBy = "ipallocator.k8s.io"

var (
	addresses = schema.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"}
	ranges    = schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}
)

// ClusterIPs hands out addresses of Services. It keeps nothing: the IPAddress and ServiceCIDR objects are the state.
type ClusterIPs struct {
	configured []netip.Prefix
}

// NewClusterIPs makes an allocator for the ranges that the server is configured with, one or two, the primary family's
// first. They count as ranges even before there is a ServiceCIDR object.
func NewClusterIPs(cidrs ...string) (*ClusterIPs, error) {
	c := &ClusterIPs{}
	for _, cidr := range cidrs {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("range of service addresses %q: %w", cidr, err)
		}
		if p.Addr().Is6() && p.Bits() < 64 {
			return nil, fmt.Errorf("shortest allowed prefix length for service CIDR is 64, got %d", p.Bits())
		}
		c.configured = append(c.configured, p.Masked())
	}
	switch {
	case len(c.configured) == 0 || len(c.configured) > 2:
		return nil, fmt.Errorf("want one or two ranges of service addresses, got %d", len(c.configured))
	case len(c.configured) == 2 && familyOf(c.configured[0].Addr()) == familyOf(c.configured[1].Addr()):
		return nil, errors.New("two ranges of service addresses must be of different IP families")
	}
	return c, nil
}

// Families are those of the cluster, the primary one first.
func (c *ClusterIPs) Families() []corev1.IPFamily {
	out := make([]corev1.IPFamily, len(c.configured))
	for i, p := range c.configured {
		out[i] = familyOf(p.Addr())
	}
	return out
}

// Has says whether the cluster has a family.
func (c *ClusterIPs) Has(f corev1.IPFamily) bool { return slices.Contains(c.Families(), f) }

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// Take reserves one address for a Service.
func (c *ClusterIPs) Take(ctx context.Context, store kinds.Store, owner *corev1.Service, ip string, dryRun bool) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	list, err := c.ranges(ctx, store, familyOf(addr))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s span) bool { return s.prefix.Contains(addr) })
	switch {
	case i < 0 && dryRun && len(list) > 0:
		return notInRange(addr, list[0].prefix)
	case i < 0:
		return ErrElsewhere
	case addr.Less(list[i].first) || list[i].last.Less(addr):
		return notInRange(addr, list[i].prefix)
	case dryRun:
		return nil
	}
	return c.create(ctx, store, owner, addr)
}

func notInRange(a netip.Addr, p netip.Prefix) error {
	return fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", a, p)
}

// Next reserves some free address of a family.
func (c *ClusterIPs) Next(ctx context.Context, store kinds.Store, owner *corev1.Service, family corev1.IPFamily, dryRun bool) (string, error) {
	list, err := c.ranges(ctx, store, family)
	if err != nil {
		return "", err
	}
	for _, s := range list {
		if dryRun {
			// Which one it will be is not known before it is taken.
			return s.prefix.Addr().String(), nil
		}
		addr, err := c.nextOf(ctx, store, owner, s)
		if err == nil {
			return addr.String(), nil
		}
		if !errors.Is(err, ErrFull) {
			return "", err
		}
	}
	return "", ErrFull
}

// guesses is how often a random address is tried before the whole range is looked through.
const guesses = 8

// nextOf looks in the upper part of a range first: the lower one is left to those who choose an address themselves.
func (c *ClusterIPs) nextOf(ctx context.Context, store kinds.Store, owner *corev1.Service, s span) (netip.Addr, error) {
	for range guesses {
		addr := s.random()
		err := c.create(ctx, store, owner, addr)
		if err == nil || !errors.Is(err, ErrTaken) {
			return addr, err
		}
	}
	objs, err := store.List(ctx, store.Kind(addresses), "")
	if err != nil {
		return netip.Addr{}, err
	}
	taken := make(map[string]bool, len(objs))
	for _, o := range objs {
		taken[o.(*networkingv1.IPAddress).Name] = true
	}
	for _, part := range s.parts() {
		for addr := part[0]; !part[1].Less(addr); addr = addr.Next() {
			if taken[addr.String()] {
				continue
			}
			err := c.create(ctx, store, owner, addr)
			if err == nil || !errors.Is(err, ErrTaken) {
				return addr, err
			}
		}
	}
	return netip.Addr{}, ErrFull
}

func (c *ClusterIPs) create(ctx context.Context, store kinds.Store, owner *corev1.Service, addr netip.Addr) error {
	_, err := store.Create(ctx, store.Kind(addresses), addressObject(owner, addr), false)
	if apierrors.IsAlreadyExists(err) {
		return ErrTaken
	}
	return err
}

func addressObject(owner *corev1.Service, addr netip.Addr) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: addr.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(familyOf(addr)), networkingv1.LabelManagedBy: managedBy}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{
			Resource: "services", Namespace: owner.Namespace, Name: owner.Name}},
	}
}

// Release gives an address back. One that is not taken is no mistake: it has been given back already.
func (c *ClusterIPs) Release(ctx context.Context, store kinds.Store, ip string) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	_, err = store.Delete(ctx, store.Kind(addresses), "", addr.String(), &metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// ranges are those that addresses are handed out from: the configured one and those of ServiceCIDRs that are ready.
func (c *ClusterIPs) ranges(ctx context.Context, store kinds.Store, family corev1.IPFamily) ([]span, error) {
	var out []span
	add := func(p netip.Prefix) {
		if familyOf(p.Addr()) == family && !slices.ContainsFunc(out, func(s span) bool { return s.prefix == p }) {
			out = append(out, spanOf(p))
		}
	}
	for _, p := range c.configured {
		add(p)
	}
	objs, err := store.List(ctx, store.Kind(ranges), "")
	if err != nil {
		return nil, err
	}
	for _, o := range objs {
		r := o.(*networkingv1.ServiceCIDR)
		if !r.DeletionTimestamp.IsZero() || !rangeReady(r) {
			continue
		}
		for _, cidr := range r.Spec.CIDRs {
			if p, err := netip.ParsePrefix(cidr); err == nil {
				add(p.Masked())
			}
		}
	}
	return out, nil
}

func rangeReady(r *networkingv1.ServiceCIDR) bool {
	for _, cond := range r.Status.Conditions {
		if cond.Type == networkingv1.ServiceCIDRConditionReady {
			return cond.Status == metav1.ConditionTrue
		}
	}
	return false
}

// random is any number below n.
func random(n uint64) uint64 { return rand.Uint64N(n) }
