package backends

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Selects says that a controller keeps the endpoints of service: it has a selector and an address of its own.
func Selects(service *corev1.Service) bool {
	return service.Spec.Type != corev1.ServiceTypeExternalName && service.Spec.Selector != nil
}

// Headless says that service has no virtual address.
func Headless(service *corev1.Service) bool {
	return service.Spec.ClusterIP == corev1.ClusterIPNone || service.Spec.ClusterIP == ""
}

// Counts says whether a pod is behind a service that selects it: it has an address and has not ended; one that is
// terminating counts only where withTerminating asks for it.
func Counts(pod *corev1.Pod, withTerminating bool) bool {
	return !control.Ended(pod) && len(pod.Status.PodIPs) > 0 && (withTerminating || pod.DeletionTimestamp == nil)
}

// Hostname is the name that DNS gives the pod below service.
func Hostname(pod *corev1.Pod, service *corev1.Service) string {
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name && service.Namespace == pod.Namespace {
		return pod.Spec.Hostname
	}
	return ""
}

// Address answers the pod's address of one family in its normal form, or "".
func Address(pod *corev1.Pod, v6 bool) string {
	for _, ip := range pod.Status.PodIPs {
		if address, err := netip.ParseAddr(ip.IP); err == nil && address.Is6() == v6 {
			return address.String()
		}
	}
	return ""
}

// Port answers the number that a service port has on a pod: its target port may be a name that each pod resolves for itself.
func Port(pod *corev1.Pod, port *corev1.ServicePort) (int32, error) {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort.IntVal, nil
	}
	find := func(containers []corev1.Container) (int32, bool) {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.Name == port.TargetPort.StrVal && p.Protocol == port.Protocol {
					return p.ContainerPort, true
				}
			}
		}
		return 0, false
	}
	if n, ok := find(pod.Spec.Containers); ok {
		return n, nil
	}
	var sidecars []corev1.Container
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars = append(sidecars, c)
		}
	}
	if n, ok := find(sidecars); ok {
		return n, nil
	}
	return 0, fmt.Errorf("no suitable port for manifest: %s", pod.UID)
}

// Changed is the latest moment at which one of pods became what it is behind a service, for the annotation by which the
// proxies measure how long a change takes to arrive.
func Changed(service *corev1.Service, pods []*corev1.Pod) string {
	last := service.CreationTimestamp.Time
	for _, pod := range pods {
		if ready := control.Condition(pod, corev1.PodReady); ready != nil && ready.LastTransitionTime.After(last) {
			last = ready.LastTransitionTime.Time
		}
	}
	if last.IsZero() {
		return ""
	}
	return last.UTC().Format(time.RFC3339Nano)
}

// ServicesOf answers what wakes a loop over services when a pod changes: the keys of the services that select it now or
// did before, and none when nothing has changed that endpoints show.
func ServicesOf(services corelisters.ServiceLister) func(old, new **corev1.Pod) []string {
	return func(old, new **corev1.Pod) []string {
		switch {
		case old == nil:
			return selecting(services, *new)
		case new == nil:
			return selecting(services, *old)
		case sameBackend(*old, *new):
			return nil
		}
		keys := selecting(services, *new)
		if !reflect.DeepEqual((*old).Labels, (*new).Labels) {
			keys = append(keys, selecting(services, *old)...)
		}
		return keys
	}
}

func selecting(services corelisters.ServiceLister, pod *corev1.Pod) []string {
	all, err := services.Services(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, service := range all {
		if Selects(service) && labels.SelectorFromValidatedSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			keys = append(keys, control.Key(service.Namespace, service.Name))
		}
	}
	return keys
}

func sameBackend(a, b *corev1.Pod) bool {
	return a.UID == b.UID && control.Ready(a) == control.Ready(b) && control.Ended(a) == control.Ended(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && a.Spec.NodeName == b.Spec.NodeName &&
		a.Spec.Hostname == b.Spec.Hostname && a.Spec.Subdomain == b.Spec.Subdomain &&
		reflect.DeepEqual(a.Status.PodIPs, b.Status.PodIPs) && reflect.DeepEqual(a.Labels, b.Labels)
}
