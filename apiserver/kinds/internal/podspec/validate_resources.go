package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// resourceNameRule looks at the name of a resource.
type resourceNameRule func(l *check.List, name corev1.ResourceName, at *field.Path)

// resources checks what is requested and limited.
func (c *specCheck) resources(r *corev1.ResourceRequirements, at *field.Path, rule resourceNameRule) {
	limits, requests := child(at, "limits"), child(at, "requests")
	compute, pages := false, false
	look := func(name corev1.ResourceName, q resource.Quantity, at *field.Path) {
		rule(&c.List, name, at)
		Quantity(&c.List, name, q, at)
		if hugePages(name) {
			pages = true
			if !wholePages(name, q) {
				c.Add(field.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name)))
			}
		}
		compute = compute || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for _, name := range sortedNames(r.Limits) {
		look(name, r.Limits[name], entry(limits, string(name)))
	}
	for _, name := range sortedNames(r.Requests) {
		q := r.Requests[name]
		look(name, q, entry(requests, string(name)))
		limit, limited := r.Limits[name]
		switch {
		case limited && q.Cmp(limit) != 0 && !overcommittable(name):
			c.Add(field.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && q.Cmp(limit) > 0:
			c.Add(field.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && !overcommittable(name):
			c.Add(field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
	}
	if pages && !compute {
		c.Add(field.Forbidden(at, "HugePages require cpu or memory"))
	}
	c.usedClaims(r.Claims, child(at, "claims"))
}

// ContainerResources checks requirements outside a spec's containers (a runtime class's overhead).
func ContainerResources(r *corev1.ResourceRequirements, at *field.Path) field.ErrorList {
	c := &specCheck{spec: &corev1.PodSpec{}}
	c.resources(r, at, containerResource)
	return c.ErrorList
}

// Quantity complains about amounts that the resource cannot have.
func Quantity(l *check.List, name corev1.ResourceName, q resource.Quantity, at *field.Path) {
	l.QuantityNotNegative(at, q)
	if (countedResources.Has(name) || extended(name)) && q.MilliValue()%1000 != 0 {
		l.Add(field.Invalid(at, q, "must be an integer"))
	}
}

// countedResources are numbers of objects.
var countedResources = sets.New(corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices,
	corev1.ResourceReplicationControllers, corev1.ResourceSecrets, corev1.ResourceConfigMaps,
	corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers)

var standardResources = countedResources.Union(sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	corev1.ResourceStorage, corev1.ResourceRequestsStorage))

// Standard says whether a resource without a domain is one that everybody knows.
func Standard(name corev1.ResourceName) bool {
	return standardResources.Has(name) || hugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// ResourceName complains about names that no resource has.
func ResourceName(l *check.List, name corev1.ResourceName, at *field.Path) {
	messages := validation.IsQualifiedName(string(name))
	l.Messages(at, name, messages)
	if len(messages) == 0 && !strings.Contains(string(name), "/") && !Standard(name) {
		l.Add(field.Invalid(at, name, "must be a standard resource type or fully qualified"))
	}
}

func containerResource(l *check.List, name corev1.ResourceName, at *field.Path) {
	ResourceName(l, name, at)
	if !strings.Contains(string(name), "/") {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage, hugePages(name):
		default:
			l.Add(field.Invalid(at, name, "must be a standard resource for containers"))
		}
		return
	}
	if !native(name) && !extended(name) {
		l.Add(field.Invalid(at, name, "doesn't follow extended resource name standard"))
	}
}

func podResource(l *check.List, name corev1.ResourceName, at *field.Path) {
	before := len(l.ErrorList)
	ResourceName(l, name, at)
	if len(l.ErrorList) == before && !resourcehelper.IsSupportedPodLevelResource(name) {
		l.Add(field.NotSupported(at, name, sets.List(resourcehelper.SupportedPodLevelResources())))
	}
}

func wholePages(name corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Sign() <= 0 || size.MilliValue()%1000 != 0 {
		return false
	}
	return q.Value()%size.Value() == 0
}

func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	names := make([]corev1.ResourceName, 0, len(list))
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// usedClaims: a container uses claims of its pod, each once, as a whole or by request.
func (c *specCheck) usedClaims(claims []corev1.ResourceClaim, at *field.Path) {
	used := sets.New[string]()
	for i, claim := range claims {
		p := index(at, i)
		if claim.Name == "" {
			c.Add(field.Required(p, ""))
			continue
		}
		if used.Has(claim.Name) {
			c.Add(field.Duplicate(p, claim.Name))
		} else {
			key := claim.Name
			if claim.Request != "" {
				c.Label(child(p, "request"), claim.Request)
				key += "/" + claim.Request
			}
			if used.Has(key) {
				c.Add(field.Duplicate(p, key))
			} else if claim.Request == "" {
				for other := range used {
					if strings.HasPrefix(other, claim.Name+"/") {
						c.Add(field.Duplicate(p, claim.Name))
					}
				}
			}
			used.Insert(key)
		}
		if !slices.Contains(c.claims, claim.Name) {
			err := field.NotFound(p, claim.Name)
			err.Detail = "must be one of the names in pod.spec.resourceClaims"
			if len(c.claims) == 0 {
				err.Detail += " which is empty"
			} else {
				err.Detail += ": " + strings.Join(c.claims, ", ")
			}
			c.Add(err)
		}
	}
}

// resourceClaims checks the claims of the pod.
func (c *specCheck) resourceClaims() {
	names := sets.New[string]()
	for i := range c.spec.ResourceClaims {
		claim, p := &c.spec.ResourceClaims[i], index(child(c.at, "resourceClaims"), i)
		if c.pod != nil {
			if _, mirror := c.pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
				c.Add(field.Forbidden(field.NewPath(""), "static pods do not support resource claims"))
				continue
			}
		}
		switch {
		case claim.Name == "":
			c.Add(field.Required(p.Child("name"), ""))
		case names.Has(claim.Name):
			c.Add(field.Duplicate(p.Child("name"), claim.Name))
		default:
			c.Label(child(p, "name"), claim.Name)
			names.Insert(claim.Name)
		}
		switch {
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			c.Add(field.Invalid(p, *claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			c.Add(field.Invalid(p, *claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		if claim.ResourceClaimName != nil {
			c.Subdomain(child(p, "resourceClaimName"), *claim.ResourceClaimName)
		}
		if claim.ResourceClaimTemplateName != nil {
			c.Subdomain(child(p, "resourceClaimTemplateName"), *claim.ResourceClaimTemplateName)
		}
	}
}

// podResources checks the resources of the pod as a whole, and that they cover its containers.
func (c *specCheck) podResources() {
	r := c.spec.Resources
	if r == nil {
		return
	}
	at := child(c.at, "resources")
	if c.spec.OS != nil && c.spec.OS.Name == corev1.Windows {
		c.Add(field.Forbidden(at, "may not be set for a windows pod"))
		return
	}
	if r.Claims != nil {
		c.Add(field.Forbidden(at.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	c.resources(r, at, podResource)
	pod := &corev1.Pod{Spec: *c.spec}
	sums := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedNames(sums) {
		sum := sums[name]
		if q, set := r.Requests[name]; set && sum.Cmp(q) > 0 {
			c.Add(field.Invalid(at.Child("requests").Key(string(name)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	sums = resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedNames(sums) {
		sum := sums[name]
		if q, set := r.Limits[name]; set && hugePages(name) && sum.Cmp(q) > 0 {
			c.Add(field.Invalid(at.Child("limits").Key(string(name)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String())))
		}
	}
	for i := range c.spec.Containers {
		limits := c.spec.Containers[i].Resources.Limits
		for _, name := range sortedNames(limits) {
			limit := limits[name]
			if q, set := r.Limits[name]; set && limit.Cmp(q) > 0 {
				c.Add(field.Invalid(at.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", q.String())))
			}
		}
	}
}

// ContainerResourceName complains about names that no resource of a container has.
func ContainerResourceName(l *check.List, name corev1.ResourceName, at *field.Path) {
	containerResource(l, name, at)
}

// Overcommittable resources may be requested below their limit.
func Overcommittable(name corev1.ResourceName) bool { return overcommittable(name) }
