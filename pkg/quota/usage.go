package quota

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	resourcehelper "k8s.io/component-helpers/resource"
)

// CountName is the resource name that limits the number of objects of a kind: count/deployments.apps.
func CountName(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + r.String())
}

// CountedBy is the inverse of CountName, and knows the names from before it: configmaps, secrets and the like.
func CountedBy(name corev1.ResourceName) (schema.GroupResource, bool) {
	switch name {
	case corev1.ResourceConfigMaps, corev1.ResourceQuotas, corev1.ResourceReplicationControllers, corev1.ResourceSecrets:
		return schema.GroupResource{Resource: string(name)}, true
	}
	if rest, ok := strings.CutPrefix(string(name), "count/"); ok {
		return schema.ParseGroupResource(rest), true
	}
	return schema.GroupResource{}, false
}

// Charged says whether a pod costs anything but its place in count/pods. One that has ended does not, nor one that should
// have ended by now: it may be on a node that is lost, and its successor must be able to start.
func Charged(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil {
		return !now.After(pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second))
	}
	return true
}

// Pod is what a pod costs.
func Pod(pod *corev1.Pod, now time.Time) corev1.ResourceList {
	usage := corev1.ResourceList{CountName(schema.GroupResource{Resource: "pods"}): one()}
	if !Charged(pod, now) {
		return usage
	}
	usage[corev1.ResourcePods] = one()
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	requests, limits := resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options)
	for name, quantity := range requests {
		switch {
		case name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			usage[name] = quantity
			usage[corev1.DefaultResourceRequestsPrefix+name] = quantity
		case extended(name):
			usage[corev1.DefaultResourceRequestsPrefix+name] = quantity
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if quantity, ok := limits[name]; ok {
			usage["limits."+name] = quantity
		}
	}
	return usage
}

// extended says that a resource is neither Kubernetes' own nor a request of one.
func extended(name corev1.ResourceName) bool {
	text := string(name)
	return strings.Contains(text, "/") && !strings.Contains(text, corev1.ResourceDefaultNamespacePrefix) && !strings.HasPrefix(text, corev1.DefaultResourceRequestsPrefix)
}

// Service is what a service costs.
func Service(service *corev1.Service) corev1.ResourceList {
	usage := corev1.ResourceList{
		CountName(schema.GroupResource{Resource: "services"}): one(),
		corev1.ResourceServices:                               one(),
		corev1.ResourceServicesLoadBalancers:                  {Format: resource.DecimalSI},
		corev1.ResourceServicesNodePorts:                      {Format: resource.DecimalSI},
	}
	ports := int64(len(service.Spec.Ports))
	switch service.Spec.Type {
	case corev1.ServiceTypeNodePort:
		usage[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
	case corev1.ServiceTypeLoadBalancer:
		if service.Spec.AllocateLoadBalancerNodePorts != nil && !*service.Spec.AllocateLoadBalancerNodePorts {
			ports = 0
			for _, p := range service.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
		usage[corev1.ResourceServicesNodePorts] = *resource.NewQuantity(ports, resource.DecimalSI)
		usage[corev1.ResourceServicesLoadBalancers] = one()
	}
	return usage
}

const classSuffix = ".storageclass.storage.k8s.io/"

// Claim is what a claim costs, in all and of its class.
func Claim(claim *corev1.PersistentVolumeClaim) corev1.ResourceList {
	usage := corev1.ResourceList{
		CountName(schema.GroupResource{Resource: "persistentvolumeclaims"}): one(),
		corev1.ResourcePersistentVolumeClaims:                               one(),
	}
	class := ""
	if old, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		class = old
	} else if claim.Spec.StorageClassName != nil {
		class = *claim.Spec.StorageClassName
	}
	if class != "" {
		usage[corev1.ResourceName(class+classSuffix)+corev1.ResourcePersistentVolumeClaims] = one()
	}
	requested, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return usage
	}
	if allocated, ok := claim.Status.AllocatedResources[corev1.ResourceStorage]; ok && allocated.Cmp(requested) > 0 {
		requested = allocated // a claim that is asked to shrink still has what it had
	}
	usage[corev1.ResourceRequestsStorage] = requested
	if class != "" {
		usage[corev1.ResourceName(class+classSuffix)+corev1.ResourceRequestsStorage] = requested
	}
	return usage
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

// Add adds what is in b to a.
func Add(a, b corev1.ResourceList) {
	for name, quantity := range b {
		sum := a[name]
		sum.Add(quantity)
		a[name] = sum
	}
}

// Kind of objects that a resource name is computed from, beyond their number.
type Source int

const (
	Counted Source = iota // by number alone: see CountedBy
	Pods
	Services
	Claims
)

// SourceOf answers which objects a resource name is computed from.
func SourceOf(name corev1.ResourceName) Source {
	text := string(name)
	switch {
	case name == corev1.ResourceServices || name == corev1.ResourceServicesLoadBalancers || name == corev1.ResourceServicesNodePorts || text == "count/services":
		return Services
	case name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage || strings.Contains(text, classSuffix) || text == "count/persistentvolumeclaims":
		return Claims
	}
	if text == "count/pods" {
		return Pods
	}
	if _, counted := CountedBy(name); counted {
		return Counted
	}
	return Pods
}
