package endpointslicemirroring

import (
	"context"
	"maps"
	"net/netip"
	gslices "slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/slices"
)

// most is how many addresses of one subset are mirrored.
const most = 1000

var kind = corev1.SchemeGroupVersion.WithKind("Endpoints")

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	existing, err := c.existing(key, namespace, name)
	if err != nil {
		return err
	}
	var changes slices.Changes
	endpoints := c.mirrored(namespace, name)
	if endpoints == nil {
		changes.Delete = existing
	} else {
		groups, skipped := groups(endpoints)
		if skipped > 0 {
			c.events.Eventf(endpoints, corev1.EventTypeWarning, "InvalidIPAddress", "Skipped %d invalid IP addresses when mirroring to EndpointSlices", skipped)
		}
		changes = slices.Plan(existing, groups, func() *discoveryv1.EndpointSlice { return template(endpoints) }, most)
	}
	if changes.None() {
		return nil
	}
	return changes.Write(ctx, c.env.Client.DiscoveryV1().EndpointSlices(namespace), &c.writes, key, c.store)
}

// mirrored answers the Endpoints of that name if they are somebody's own and belong to a Service, else nil.
func (c *Controller) mirrored(namespace, name string) *corev1.Endpoints {
	endpoints, err := c.endpoints.Endpoints(namespace).Get(name)
	if err != nil || endpoints.Labels[discoveryv1.LabelSkipMirror] == "true" {
		return nil
	}
	if _, lock := endpoints.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]; lock {
		return nil // an old way to elect a leader, not addresses
	}
	service, err := c.services.Services(namespace).Get(name)
	if err != nil || service.Spec.Selector != nil {
		return nil
	}
	return endpoints
}

func (c *Controller) existing(key, namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	all, err := c.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{
		discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: managedBy,
	}))
	if err != nil {
		return nil, err
	}
	seen := map[types.UID]bool{}
	var kept []*discoveryv1.EndpointSlice
	for _, slice := range all {
		seen[slice.UID] = true
		if slice.DeletionTimestamp == nil && !c.writes.Gone(key, slice.UID) {
			kept = append(kept, slice)
		}
	}
	c.writes.Retain(key, func(uid types.UID) bool { return seen[uid] })
	return kept, nil
}

func template(endpoints *corev1.Endpoints) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: endpoints.Namespace, GenerateName: slices.NamePrefix(endpoints.Name),
		Labels: maps.Clone(endpoints.Labels), Annotations: maps.Clone(endpoints.Annotations),
		OwnerReferences: []metav1.OwnerReference{control.Reference(endpoints, kind)},
	}}
	if slice.Labels == nil {
		slice.Labels = map[string]string{}
	}
	slice.Labels[discoveryv1.LabelServiceName] = endpoints.Name
	slice.Labels[discoveryv1.LabelManagedBy] = managedBy
	delete(slice.Annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(slice.Annotations, corev1.LastAppliedConfigAnnotation)
	return slice
}

// groups answers the addresses of endpoints by family and ports, and how many could not be read.
func groups(endpoints *corev1.Endpoints) (all []slices.Group, skipped int) {
	found := map[string]*slices.Group{}
	for _, subset := range endpoints.Subsets {
		ports := ports(subset.Ports)
		add := func(address corev1.EndpointAddress, ready bool) {
			ip, err := netip.ParseAddr(address.IP)
			if err != nil {
				skipped++
				return
			}
			family := discoveryv1.AddressTypeIPv4
			if ip.Is6() {
				family = discoveryv1.AddressTypeIPv6
			}
			key := slices.GroupKey(family, ports)
			if found[key] == nil {
				found[key] = &slices.Group{Type: family, Ports: ports}
			}
			if len(found[key].Endpoints) >= most {
				return
			}
			e := discoveryv1.Endpoint{
				Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)},
				TargetRef: address.TargetRef, NodeName: address.NodeName,
			}
			if address.Hostname != "" {
				e.Hostname = ptr.To(address.Hostname)
			}
			found[key].Endpoints = append(found[key].Endpoints, e)
		}
		for _, address := range subset.Addresses {
			add(address, true)
		}
		for _, address := range subset.NotReadyAddresses {
			add(address, false)
		}
	}
	for _, key := range gslices.Sorted(maps.Keys(found)) {
		all = append(all, *found[key])
	}
	return all, skipped
}

func ports(from []corev1.EndpointPort) []discoveryv1.EndpointPort {
	all := []discoveryv1.EndpointPort{}
	for _, p := range from {
		all = append(all, discoveryv1.EndpointPort{Name: ptr.To(p.Name), Port: ptr.To(p.Port), Protocol: ptr.To(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return all
}
