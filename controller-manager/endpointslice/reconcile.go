package endpointslice

import (
	"cmp"
	"context"
	"maps"
	gslices "slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/backends"
	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/slices"
)

var serviceKind = corev1.SchemeGroupVersion.WithKind("Service")

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	service, err := c.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.writes.Forget(key) // the garbage collector deletes the slices
		return nil
	}
	if err != nil || !backends.Selects(service) {
		return err
	}
	pods, err := c.pods.Pods(namespace).List(labels.SelectorFromValidatedSet(service.Spec.Selector))
	if err != nil {
		return err
	}
	existing, err := c.existing(key, namespace, name)
	if err != nil {
		return err
	}
	changes := slices.Plan(existing, groups(service, pods, c.zone), func() *discoveryv1.EndpointSlice { return template(service, pods) }, slices.Full)
	if changes.None() {
		return nil
	}
	err = changes.Write(ctx, c.env.Client.DiscoveryV1().EndpointSlices(namespace), &c.writes, key, c.store)
	if err != nil && !apierrors.IsConflict(err) {
		c.events.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", namespace, name, err)
	}
	return err
}

// existing answers the slices that are there and stay.
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

func (c *Controller) zone(node string) string {
	if n, err := c.nodes.Get(node); err == nil {
		return n.Labels[corev1.LabelTopologyZone]
	}
	return ""
}

// template answers an empty slice with the metadata of all slices of service.
func template(service *corev1.Service, pods []*corev1.Pod) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
		Namespace: service.Namespace, GenerateName: slices.NamePrefix(service.Name),
		Labels: map[string]string{}, Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{control.Reference(service, serviceKind)},
	}}
	for k, v := range service.Labels {
		switch k {
		case discoveryv1.LabelServiceName, discoveryv1.LabelManagedBy, corev1.IsHeadlessService:
		default:
			slice.Labels[k] = v
		}
	}
	if backends.Headless(service) {
		slice.Labels[corev1.IsHeadlessService] = ""
	}
	slice.Labels[discoveryv1.LabelServiceName] = service.Name
	slice.Labels[discoveryv1.LabelManagedBy] = managedBy
	if changed := backends.Changed(service, pods); changed != "" {
		slice.Annotations[corev1.EndpointsLastChangeTriggerTime] = changed
	}
	return slice
}

// groups answers the endpoints of service, those with the same ports together. Every address family has one group at
// least, so that an empty slice shows that there is nothing.
func groups(service *corev1.Service, pods []*corev1.Pod, zone func(node string) string) []slices.Group {
	found := map[string]*slices.Group{}
	families := families(service, pods)
	for _, family := range families {
		for _, pod := range pods {
			if !backends.Counts(pod, true) {
				continue
			}
			ip := backends.Address(pod, family == discoveryv1.AddressTypeIPv6)
			if ip == "" {
				continue
			}
			ports := ports(service, pod)
			key := slices.GroupKey(family, ports)
			if found[key] == nil {
				found[key] = &slices.Group{Type: family, Ports: ports}
			}
			found[key].Endpoints = append(found[key].Endpoints, endpoint(service, pod, ip, zone))
		}
	}
	for _, family := range families {
		if !hasFamily(found, family) {
			found[string(family)+"|"] = &slices.Group{Type: family}
		}
	}
	var all []slices.Group
	for _, key := range gslices.Sorted(maps.Keys(found)) {
		hint(service, found[key].Endpoints)
		all = append(all, *found[key])
	}
	return all
}

func hasFamily(found map[string]*slices.Group, family discoveryv1.AddressType) bool {
	for _, group := range found {
		if group.Type == family {
			return true
		}
	}
	return false
}

// families are the service's own; a headless service without any, from before dual stack, has those of its pods.
func families(service *corev1.Service, pods []*corev1.Pod) []discoveryv1.AddressType {
	var all []discoveryv1.AddressType
	for _, family := range service.Spec.IPFamilies {
		all = append(all, discoveryv1.AddressType(family))
	}
	if len(all) > 0 {
		return all
	}
	if service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone {
		if strings.Contains(service.Spec.ClusterIP, ":") {
			return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
		}
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
	}
	for _, pod := range pods {
		if len(pod.Status.PodIPs) > 0 && backends.Address(pod, false) == "" {
			return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
		}
	}
	return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
}

func ports(service *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	found := []discoveryv1.EndpointPort{}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		number, err := backends.Port(pod, port)
		if err != nil {
			continue
		}
		found = append(found, discoveryv1.EndpointPort{
			Name: ptr.To(port.Name), Protocol: ptr.To(port.Protocol), Port: ptr.To(number), AppProtocol: port.AppProtocol,
		})
	}
	gslices.SortFunc(found, func(a, b discoveryv1.EndpointPort) int { return cmp.Compare(slices.PortID(a), slices.PortID(b)) })
	return found
}

func endpoint(service *corev1.Service, pod *corev1.Pod, ip string, zone func(node string) string) discoveryv1.Endpoint {
	serving, terminating := control.Ready(pod), pod.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: []string{ip},
		Conditions: discoveryv1.EndpointConditions{
			Ready:   ptr.To(service.Spec.PublishNotReadyAddresses || (serving && !terminating)),
			Serving: ptr.To(serving), Terminating: ptr.To(terminating),
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = &pod.Spec.NodeName
		if z := zone(pod.Spec.NodeName); z != "" {
			e.Zone = &z
		}
	}
	if hostname := backends.Hostname(pod, service); hostname != "" {
		e.Hostname = &hostname
	}
	return e
}

// hint says whose traffic each endpoint is for, as spec.trafficDistribution asks.
func hint(service *corev1.Service, endpoints []discoveryv1.Endpoint) {
	distribution := ptr.Deref(service.Spec.TrafficDistribution, "")
	sameZone := distribution == corev1.ServiceTrafficDistributionPreferClose || distribution == corev1.ServiceTrafficDistributionPreferSameZone
	sameNode := distribution == corev1.ServiceTrafficDistributionPreferSameNode
	if !sameZone && !sameNode {
		return
	}
	for i := range endpoints {
		e := &endpoints[i]
		if !ptr.Deref(e.Conditions.Ready, false) {
			continue
		}
		hints := &discoveryv1.EndpointHints{}
		if e.Zone != nil {
			hints.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
		}
		if sameNode && e.NodeName != nil {
			hints.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
		if len(hints.ForZones)+len(hints.ForNodes) > 0 {
			e.Hints = hints
		}
	}
}
