package endpoints

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/controller-manager/backends"
	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	managedBy = "endpoints.kubernetes.io/managed-by"
	// capacity is how many addresses an Endpoints object holds; more would make it too big to watch.
	capacity  = 1000
	truncated = "truncated"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	service, err := c.services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.writes.Forget(key)
		return c.remove(ctx, key)
	}
	if err != nil {
		return err
	}
	c.gone.Delete(key)
	if !backends.Selects(service) {
		return nil
	}
	pods, err := c.pods.Pods(namespace).List(labels.SelectorFromValidatedSet(service.Spec.Selector))
	if err != nil {
		return err
	}
	current, err := c.endpoints.Endpoints(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	wanted := plan(service, pods, current)
	if current != nil && same(current, wanted) {
		return nil
	}
	return c.write(ctx, key, service, current, wanted)
}

// remove deletes the Endpoints of a Service that is gone, or that this controller once made for one. Others are left
// alone: Endpoints may be made by hand before their Service is, or without any.
func (c *Controller) remove(ctx context.Context, key string) error {
	namespace, service := control.SplitKey(key)
	current, err := c.endpoints.Endpoints(namespace).Get(service)
	_, gone := c.gone.Load(key)
	if err == nil && (gone || current.Labels[managedBy] == name) {
		err = c.env.Client.CoreV1().Endpoints(namespace).Delete(ctx, service, metav1.DeleteOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	c.gone.Delete(key)
	return nil
}

func (c *Controller) write(ctx context.Context, key string, service *corev1.Service, current, wanted *corev1.Endpoints) error {
	api := c.env.Client.CoreV1().Endpoints(wanted.Namespace)
	var written *corev1.Endpoints
	var err error
	if current == nil {
		written, err = api.Create(ctx, wanted, metav1.CreateOptions{})
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err != nil {
			c.events.Eventf(wanted, corev1.EventTypeWarning, "FailedToCreateEndpoint", "Failed to create endpoint for service %v/%v: %v", service.Namespace, service.Name, err)
		}
	} else {
		written, err = api.Update(ctx, wanted, metav1.UpdateOptions{})
		if err != nil && !apierrors.IsConflict(err) {
			c.events.Eventf(wanted, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "Failed to update endpoint %v/%v: %v", service.Namespace, service.Name, err)
		}
	}
	if err != nil {
		return err
	}
	c.writes.Wrote(key, c.store, written)
	return nil
}

// plan answers the Endpoints that service should have. current may be nil.
func plan(service *corev1.Service, pods []*corev1.Pod, current *corev1.Endpoints) *corev1.Endpoints {
	wanted := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if current != nil {
		wanted = current.DeepCopy()
	}
	wanted.Labels = maps.Clone(service.Labels)
	if wanted.Labels == nil {
		wanted.Labels = map[string]string{}
	}
	delete(wanted.Labels, corev1.IsHeadlessService)
	if backends.Headless(service) {
		wanted.Labels[corev1.IsHeadlessService] = ""
	}
	wanted.Labels[managedBy] = name

	var cut bool
	wanted.Subsets, cut = truncate(subsets(service, pods))
	if wanted.Annotations == nil {
		wanted.Annotations = map[string]string{}
	}
	if changed := backends.Changed(service, pods); changed != "" {
		wanted.Annotations[corev1.EndpointsLastChangeTriggerTime] = changed
	}
	delete(wanted.Annotations, corev1.EndpointsOverCapacity)
	if cut {
		wanted.Annotations[corev1.EndpointsOverCapacity] = truncated
	}
	return wanted
}

// same ignores the trigger time, which says when the rest changed, and the order of what is a set.
func same(a, b *corev1.Endpoints) bool {
	return maps.Equal(a.Labels, b.Labels) &&
		a.Annotations[corev1.EndpointsOverCapacity] == b.Annotations[corev1.EndpointsOverCapacity] &&
		equality.Semantic.DeepEqual(normal(a.Subsets), normal(b.Subsets))
}

// endpoint is one pod's address, and the ports that the service has on it.
type endpoint struct {
	address corev1.EndpointAddress
	ports   []corev1.EndpointPort
	ready   bool
}

// subsets groups the addresses by the ports that they have in common.
func subsets(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	groups := map[string]*corev1.EndpointSubset{}
	for _, pod := range pods {
		if !backends.Counts(pod, service.Spec.PublishNotReadyAddresses) {
			continue
		}
		e, ok := endpointOf(service, pod)
		if !ok {
			continue
		}
		id := portsID(e.ports)
		group := groups[id]
		if group == nil {
			group = &corev1.EndpointSubset{Ports: e.ports}
			groups[id] = group
		}
		if e.ready {
			group.Addresses = append(group.Addresses, e.address)
		} else {
			group.NotReadyAddresses = append(group.NotReadyAddresses, e.address)
		}
	}
	var all []corev1.EndpointSubset
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, *groups[id])
	}
	return normal(all)
}

func endpointOf(service *corev1.Service, pod *corev1.Pod) (endpoint, bool) {
	v6 := len(service.Spec.IPFamilies) > 0 && service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	ip := backends.Address(pod, v6)
	if ip == "" {
		return endpoint{}, false
	}
	e := endpoint{
		ready: service.Spec.PublishNotReadyAddresses || control.Ready(pod),
		address: corev1.EndpointAddress{
			IP: ip, Hostname: backends.Hostname(pod, service),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		},
	}
	if pod.Spec.NodeName != "" {
		e.address.NodeName = &pod.Spec.NodeName
	}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		number, err := backends.Port(pod, port)
		if err != nil {
			continue
		}
		e.ports = append(e.ports, corev1.EndpointPort{Name: port.Name, Port: number, Protocol: port.Protocol, AppProtocol: port.AppProtocol})
	}
	// A headless service may have no ports at all; a pod that has none of a service's ports is not behind it.
	return e, len(e.ports) > 0 || (len(service.Spec.Ports) == 0 && service.Spec.ClusterIP == corev1.ClusterIPNone)
}

func portsID(ports []corev1.EndpointPort) string {
	slices.SortFunc(ports, comparePorts)
	var id strings.Builder
	for _, p := range ports {
		id.WriteString(p.Name + "/" + string(p.Protocol) + "/")
		id.WriteString(strconv.Itoa(int(p.Port)))
		if p.AppProtocol != nil {
			id.WriteString(*p.AppProtocol)
		}
		id.WriteByte(';')
	}
	return id.String()
}

func comparePorts(a, b corev1.EndpointPort) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}

func compareAddresses(a, b corev1.EndpointAddress) int {
	uid := func(e corev1.EndpointAddress) string {
		if e.TargetRef == nil {
			return ""
		}
		return string(e.TargetRef.UID)
	}
	return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(uid(a), uid(b)))
}

// normal answers a copy with everything in order.
func normal(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	sorted := make([]corev1.EndpointSubset, 0, len(subsets))
	for _, s := range subsets {
		s.Addresses, s.NotReadyAddresses, s.Ports = slices.Clone(s.Addresses), slices.Clone(s.NotReadyAddresses), slices.Clone(s.Ports)
		slices.SortFunc(s.Addresses, compareAddresses)
		slices.SortFunc(s.NotReadyAddresses, compareAddresses)
		slices.SortFunc(s.Ports, comparePorts)
		sorted = append(sorted, s)
	}
	slices.SortStableFunc(sorted, func(a, b corev1.EndpointSubset) int { return cmp.Compare(portsID(a.Ports), portsID(b.Ports)) })
	return sorted
}

// truncate keeps at most capacity addresses, ready ones first.
func truncate(subsets []corev1.EndpointSubset) ([]corev1.EndpointSubset, bool) {
	ready, notReady := 0, 0
	for _, s := range subsets {
		ready, notReady = ready+len(s.Addresses), notReady+len(s.NotReadyAddresses)
	}
	if ready+notReady <= capacity {
		return subsets, false
	}
	roomReady := min(ready, capacity)
	roomNotReady := capacity - roomReady
	var kept []corev1.EndpointSubset
	for _, s := range subsets {
		s.Addresses = s.Addresses[:min(len(s.Addresses), roomReady)]
		s.NotReadyAddresses = s.NotReadyAddresses[:min(len(s.NotReadyAddresses), roomNotReady)]
		roomReady, roomNotReady = roomReady-len(s.Addresses), roomNotReady-len(s.NotReadyAddresses)
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			kept = append(kept, s)
		}
	}
	return kept, true
}
