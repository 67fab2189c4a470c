package podspec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var statusPath = field.NewPath("status")

// statusCheck is one look at a pod's status.
type statusCheck struct {
	specCheck
	now, was *corev1.Pod
}

// ValidatePodStatus checks what a node agent says about a pod.
func ValidatePodStatus(pod, old *corev1.Pod) field.ErrorList {
	c := &statusCheck{now: pod, was: old}
	c.All(validateAnnotationChanges(pod, old))
	c.conditions()
	s := &pod.Status
	if n := s.NominatedNodeName; n != "" && n != old.Status.NominatedNodeName {
		c.Subdomain(statusPath.Child("nominatedNodeName"), n)
		if old.Spec.NodeName != "" {
			c.Add(field.Forbidden(statusPath.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node"))
		}
	}
	if s.ObservedGeneration < 0 {
		c.Add(field.Invalid(statusPath.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer"))
	}
	c.Immutable(statusPath.Child("qosClass"), s.QOSClass, old.Status.QOSClass)
	c.ended()
	c.claimStatuses()
	c.extendedClaim()
	c.allocatableClaims()
	c.volumeHealth()
	c.podIPs()
	c.hostIPs()
	for _, list := range c.lists() {
		c.users(list.now, list.at)
		c.allocatedResources(list)
	}
	return c.ErrorList
}

// statusList is one of the three lists of container statuses.
type statusList struct {
	now, was []corev1.ContainerStatus
	spec     []corev1.Container // nil for ephemeral ones
	at       *field.Path
}

func (c *statusCheck) lists() []statusList {
	now, was := &c.now.Status, &c.was.Status
	return []statusList{
		{now.ContainerStatuses, was.ContainerStatuses, c.now.Spec.Containers, statusPath.Child("containerStatuses")},
		{now.InitContainerStatuses, was.InitContainerStatuses, c.now.Spec.InitContainers, statusPath.Child("initContainerStatuses")},
		{now.EphemeralContainerStatuses, was.EphemeralContainerStatuses, nil, statusPath.Child("ephemeralContainerStatuses")},
	}
}

func (c *statusCheck) conditions() {
	for i, cond := range c.now.Status.Conditions {
		at := statusPath.Child("conditions").Index(i)
		if cond.ObservedGeneration < 0 {
			c.Add(field.Invalid(at.Child("observedGeneration"), cond.ObservedGeneration, "must be a non-negative integer"))
		}
		switch cond.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			c.Qualified(at.Child("Type"), string(cond.Type))
		}
	}
}

// ended: a container that has ended for good does not come back to life.
func (c *statusCheck) ended() {
	lists := c.lists()
	spec := &c.was.Spec
	c.mayNotRestart(lists[0], func(s *corev1.ContainerStatus) bool {
		return anyRestartsAll(spec) || restartsAfter(spec, spec.Containers, s, false)
	})
	c.mayNotRestart(lists[1], func(s *corev1.ContainerStatus) bool {
		return anyRestartsAll(spec) || restartsAfter(spec, spec.InitContainers, s, true)
	})
	c.mayNotRestart(lists[2], func(*corev1.ContainerStatus) bool { return false })
}

func (c *statusCheck) mayNotRestart(list statusList, may func(*corev1.ContainerStatus) bool) {
	for i := range list.was {
		was := &list.was[i]
		if was.State.Terminated == nil || may(was) {
			continue
		}
		for k := range list.now {
			if now := &list.now[k]; now.Name == was.Name && now.State.Terminated == nil {
				c.Add(field.Forbidden(list.at.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
}

// anyRestartsAll: one container's rule may restart all of them.
func anyRestartsAll(spec *corev1.PodSpec) bool {
	found := false
	Containers(spec, nil, func(ctr *corev1.Container, _ *field.Path) {
		for _, r := range ctr.RestartPolicyRules {
			found = found || r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		}
	})
	return found
}

// restartsAfter says whether a container that ended so is started again: by its own rules, its own policy or the pod's.
func restartsAfter(spec *corev1.PodSpec, containers []corev1.Container, s *corev1.ContainerStatus, init bool) bool {
	i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == s.Name })
	if i < 0 {
		return spec.RestartPolicy == corev1.RestartPolicyAlways
	}
	ctr, code := &containers[i], s.State.Terminated.ExitCode
	for _, r := range ctr.RestartPolicyRules {
		if r.ExitCodes == nil {
			continue
		}
		if slices.Contains(r.ExitCodes.Values, code) == (r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	policy := corev1.ContainerRestartPolicy(spec.RestartPolicy)
	if ctr.RestartPolicy != nil {
		policy = *ctr.RestartPolicy
	}
	switch policy {
	case corev1.ContainerRestartPolicyAlways:
		return true
	case corev1.ContainerRestartPolicyOnFailure:
		return code != 0
	}
	return false
}

func (c *statusCheck) claimStatuses() {
	at := statusPath.Child("resourceClaimStatuses")
	names := sets.New[string]()
	for i, s := range c.now.Status.ResourceClaimStatuses {
		p := at.Index(i)
		if !slices.ContainsFunc(c.now.Spec.ResourceClaims, func(r corev1.PodResourceClaim) bool { return r.Name == s.Name }) {
			c.Add(field.Invalid(p.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		if names.Has(s.Name) {
			c.Add(field.Duplicate(p.Child("name"), s.Name))
		}
		names.Insert(s.Name)
		if s.ResourceClaimName != nil {
			c.Messages(p.Child("resourceClaimName"), s.ResourceClaimName, validation.IsDNS1123Subdomain(*s.ResourceClaimName))
		}
	}
}

func (c *statusCheck) extendedClaim() {
	s := c.now.Status.ExtendedResourceClaimStatus
	if s == nil {
		return
	}
	at := statusPath.Child("extendedResourceClaimStatus")
	mappings := at.Child("requestMappings")
	if len(s.RequestMappings) == 0 {
		c.Add(field.Required(mappings, "at least one request mapping is required"))
	}
	containers := map[string]*corev1.Container{}
	for _, list := range [][]corev1.Container{c.now.Spec.InitContainers, c.now.Spec.Containers} {
		for i := range list {
			containers[list[i].Name] = &list[i]
		}
	}
	seen := sets.New[corev1.ContainerExtendedResourceRequest]()
	for i, m := range s.RequestMappings {
		p := mappings.Index(i)
		if ctr, ok := containers[m.ContainerName]; !ok {
			c.Add(field.Invalid(p.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name"))
		} else if _, ok := ctr.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			c.Add(field.Invalid(p.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"))
		}
		c.Label(at.Child("requestName"), m.RequestName)
		if seen.Has(m) {
			c.Add(field.Duplicate(p.Child("containerName"), m.ContainerName), field.Duplicate(p.Child("resourceName"), m.ResourceName),
				field.Duplicate(p.Child("requestName"), m.RequestName))
		}
		seen.Insert(m)
	}
	if c.Require(at.Child("resourceClaimName"), s.ResourceClaimName) {
		c.Subdomain(at.Child("resourceClaimName"), s.ResourceClaimName)
	}
}

func (c *statusCheck) allocatableClaims() {
	for i, s := range c.now.Status.NodeAllocatableResourceClaimStatuses {
		at := statusPath.Child("nodeAllocatableResourceClaimStatuses").Index(i)
		if s.ResourceClaimName == "" {
			continue
		}
		known := slices.ContainsFunc(c.now.Spec.ResourceClaims, func(r corev1.PodResourceClaim) bool {
			return r.ResourceClaimName != nil && *r.ResourceClaimName == s.ResourceClaimName
		}) || slices.ContainsFunc(c.now.Status.ResourceClaimStatuses, func(r corev1.PodResourceClaimStatus) bool {
			return r.ResourceClaimName != nil && *r.ResourceClaimName == s.ResourceClaimName
		})
		if !known {
			c.Add(field.Invalid(at.Child("resourceClaimName"), s.ResourceClaimName, "no mapping found in pod reference"))
		}
	}
}

func (c *statusCheck) volumeHealth() {
	for i, h := range c.now.Status.VolumeHealth {
		at := statusPath.Child("volumeHealth").Index(i)
		if h.Name != "" && !slices.ContainsFunc(c.now.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == h.Name }) {
			c.Add(field.NotFound(at.Child("name"), h.Name))
		}
		for k, cond := range h.HealthConditions {
			if cond.Reason != "" {
				c.Rule(at.Child("healthConditions").Index(k).Child("reason"), cond.Reason, metavalidation.IsValidConditionReason)
			}
		}
	}
}

func (c *statusCheck) podIPs() {
	at := statusPath.Child("podIPs")
	var before, ips []string
	for _, ip := range c.was.Status.PodIPs {
		before = append(before, ip.IP)
	}
	s := &c.now.Status
	for i, ip := range s.PodIPs {
		c.All(validation.IsValidIPForLegacyField(at.Index(i), ip.IP, true, before))
		ips = append(ips, ip.IP)
	}
	c.oneAFamily(ips, s.PodIPs, at)
	switch {
	case (s.PodIP == "") != (len(s.PodIPs) == 0):
		c.Add(field.Invalid(at, s.PodIPs, "podIP and podIPs must either both be set or both be unset"))
	case len(s.PodIPs) > 0 && s.PodIP != s.PodIPs[0].IP:
		c.Add(field.Invalid(at.Index(0).Child("ip"), s.PodIPs[0].IP, "must be equal to `podIP`"))
	}
}

func (c *statusCheck) hostIPs() {
	s := &c.now.Status
	if len(s.HostIPs) == 0 {
		return
	}
	at := statusPath.Child("hostIPs")
	if s.HostIP != s.HostIPs[0].IP {
		c.Add(field.Invalid(at.Index(0).Child("ip"), s.HostIPs[0].IP, "must be equal to `hostIP`"))
	}
	var before, ips []string
	for _, ip := range c.was.Status.HostIPs {
		before = append(before, ip.IP)
	}
	for i, ip := range s.HostIPs {
		c.All(validation.IsValidIPForLegacyField(at.Index(i), ip.IP, true, before))
		ips = append(ips, ip.IP)
	}
	c.oneAFamily(ips, s.HostIPs, at)
}

func (c *statusCheck) oneAFamily(ips []string, shown any, at *field.Path) {
	if len(ips) < 2 {
		return
	}
	dual, err := utilnet.IsDualStackIPStrings(ips)
	if err != nil {
		c.Add(field.InternalError(at, fmt.Errorf("failed to check for dual stack with error:%v", err)))
	}
	if !dual || len(ips) > 2 {
		c.Add(field.Invalid(at, shown, "may specify no more than one IP for each IP family"))
	}
}

func (c *statusCheck) users(statuses []corev1.ContainerStatus, at *field.Path) {
	windows := c.now.Spec.OS != nil && c.now.Spec.OS.Name == corev1.Windows
	for i := range statuses {
		u := statuses[i].User
		if u == nil || u.Linux == nil {
			continue
		}
		p := at.Index(i).Child("user").Child("linux")
		if windows {
			c.Add(field.Forbidden(p, "cannot be set for a windows pod"))
			continue
		}
		if u.Linux.UID < 0 || u.Linux.UID > math.MaxUint32 {
			c.Add(field.Invalid(p.Child("uid"), u.Linux.UID, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32))))
		}
		c.group(p.Child("gid"), &u.Linux.GID)
		for g := range u.Linux.SupplementalGroups {
			c.group(p.Child("supplementalGroups").Index(g), &u.Linux.SupplementalGroups[g])
		}
	}
}

const longestHealthMessage = corev1.ResourceHealthMessageMaxLength

// allocatedResources checks what a status says about the devices of a container: they are those that it asked for.
func (c *statusCheck) allocatedResources(list statusList) {
	for i := range list.now {
		s, at := &list.now[i], list.at.Index(i).Child("allocatedResourcesStatus")
		if len(s.AllocatedResourcesStatus) == 0 {
			continue
		}
		if list.spec == nil {
			c.Add(field.Forbidden(at, "must not be specified in container status"))
			continue
		}
		k := slices.IndexFunc(list.spec, func(ctr corev1.Container) bool { return ctr.Name == s.Name })
		for j := range s.AllocatedResourcesStatus {
			r, p := &s.AllocatedResourcesStatus[j], at.Index(j)
			if k >= 0 {
				c.asked(&list.spec[k], r.Name, p.Child("name"))
			}
			seen := sets.New[corev1.ResourceID]()
			for n, h := range r.Resources {
				q := p.Child("resources").Index(n)
				check.OneOf(&c.List, q.Child("health"), h.Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
				if h.Message != nil {
					if *h.Message == "" {
						c.Add(field.Required(q.Child("message"), "must be non-empty if specified"))
					} else if len(*h.Message) > longestHealthMessage {
						c.Add(field.TooLong(q.Child("message"), *h.Message, longestHealthMessage))
					}
				}
				if seen.Has(h.ResourceID) {
					c.Add(field.Duplicate(q.Child("resourceID"), h.ResourceID))
				}
				seen.Insert(h.ResourceID)
			}
		}
	}
}

func (c *statusCheck) asked(ctr *corev1.Container, name corev1.ResourceName, at *field.Path) {
	claim, isClaim := strings.CutPrefix(string(name), "claim:")
	if !isClaim {
		if _, requested := ctr.Resources.Requests[name]; !requested {
			c.Add(field.Invalid(at, name, "must match one of the container's resource requests"))
		}
		return
	}
	for _, r := range ctr.Resources.Claims {
		want := r.Name
		if r.Request != "" {
			want += "/" + r.Request
		}
		if want == claim {
			return
		}
	}
	if e := c.now.Status.ExtendedResourceClaimStatus; e != nil {
		claimName, request, _ := strings.Cut(claim, "/")
		for _, m := range e.RequestMappings {
			q := ctr.Resources.Requests[corev1.ResourceName(m.ResourceName)]
			if claimName == e.ResourceClaimName && m.ContainerName == ctr.Name && m.RequestName == request && request != "" && !q.IsZero() {
				return
			}
		}
	}
	c.Add(field.Invalid(at, name, "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty"))
}
