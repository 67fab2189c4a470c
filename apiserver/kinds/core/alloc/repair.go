package alloc

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// leakAge is how old an address without its Service must be before it is given back: a Service that is being created
// has its address first.
const leakAge = time.Minute

// Repair makes addresses and ports agree with the Services that there are. It is run now and then, and after a start:
// a server that dies between taking an address and writing the Service leaves the address behind.
//
// Ports are given back one pass later than they are found unused, since a port has no age: unused is what the last pass
// found, and the result is for the next.
func Repair(ctx context.Context, store kinds.Store, ips *ClusterIPs, ports *NodePorts, now time.Time, unused map[int]bool) (map[int]bool, error) {
	objs, err := store.List(ctx, store.Kind(corev1.Resource("services")), "")
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	services := make([]*corev1.Service, len(objs))
	for i, o := range objs {
		services[i] = o.(*corev1.Service)
	}
	next, portErr := repairPorts(ctx, store, ports, services, unused)
	return next, errors.Join(portErr, repairAddresses(ctx, store, ips, services, now))
}

func repairPorts(ctx context.Context, store kinds.Store, p *NodePorts, services []*corev1.Service, unused map[int]bool) (map[int]bool, error) {
	used := map[int]bool{}
	for _, s := range services {
		for _, port := range Ports(s) {
			used[port-p.base] = true
		}
	}
	next := map[int]bool{}
	obj, err := store.Get(ctx, kindOf(store), "", portObject)
	if apierrors.IsNotFound(err) {
		obj, err = &corev1.RangeAllocation{}, nil
	}
	if err != nil {
		return unused, fmt.Errorf("read node ports: %w", err)
	}
	have := new(big.Int)
	if r := obj.(*corev1.RangeAllocation); r.Range == p.Range() {
		have.SetBytes(r.Data)
	}
	wrong := false
	for i := range p.size {
		switch {
		case used[i] != (have.Bit(i) == 1) && used[i]:
			wrong = true
		case !used[i] && have.Bit(i) == 1:
			next[i] = true
			wrong = wrong || unused[i]
		}
	}
	if !wrong {
		return next, nil
	}
	err = p.change(ctx, store, false, func(bits *big.Int) error {
		for i := range p.size {
			switch {
			case used[i]:
				bits.SetBit(bits, i, 1)
			case unused[i] && next[i]:
				bits.SetBit(bits, i, 0)
				delete(next, i)
			}
		}
		return nil
	})
	if err != nil {
		return next, fmt.Errorf("write node ports: %w", err)
	}
	return next, nil
}

func repairAddresses(ctx context.Context, store kinds.Store, c *ClusterIPs, services []*corev1.Service, now time.Time) error {
	kind := store.Kind(addresses)
	objs, err := store.List(ctx, kind, "")
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	owners := map[string]*corev1.Service{}
	for _, s := range services {
		for _, ip := range s.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(ip); err == nil {
				owners[a.String()] = s
			}
		}
	}
	ours := labels.Set{networkingv1.LabelManagedBy: managedBy}.AsSelector()
	var errs []error
	for _, o := range objs {
		a := o.(*networkingv1.IPAddress)
		owner, wanted := owners[a.Name]
		delete(owners, a.Name)
		if !ours.Matches(labels.Set(a.Labels)) || wanted && refersTo(a, owner) || now.Sub(a.CreationTimestamp.Time) < leakAge {
			continue
		}
		// Nobody's, or not its owner's: away, and made anew where it is wanted.
		uid := a.UID
		_, err := store.Delete(ctx, kind, "", a.Name, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("give back %s: %w", a.Name, err))
			continue
		}
		if wanted {
			owners[a.Name] = owner
		}
	}
	for ip, owner := range owners {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			continue
		}
		if err := c.create(ctx, store, owner, addr); err != nil && !errors.Is(err, ErrTaken) {
			errs = append(errs, fmt.Errorf("take %s for service %s/%s: %w", ip, owner.Namespace, owner.Name, err))
		}
	}
	return errors.Join(errs...)
}

func refersTo(a *networkingv1.IPAddress, s *corev1.Service) bool {
	r := a.Spec.ParentRef
	return r != nil && r.Group == "" && r.Resource == "services" && r.Namespace == s.Namespace && r.Name == s.Name
}

// Ports are all ports of the nodes that a Service has.
func Ports(s *corev1.Service) []int {
	var out []int
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, int(p.NodePort))
		}
	}
	if s.Spec.HealthCheckNodePort != 0 {
		out = append(out, int(s.Spec.HealthCheckNodePort))
	}
	return out
}
