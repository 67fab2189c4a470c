package podspec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// specCheck is one look at one spec. Its parts stand in files of their own: containers, volumes, scheduling, security.
type specCheck struct {
	check.List
	spec *corev1.PodSpec
	// pod is the pod's metadata; nil for a template, whose pods have no name yet.
	pod     *metav1.ObjectMeta
	at      *field.Path
	volumes map[string]*corev1.VolumeSource // those without fault
	claims  []string
	tolerate
}

// tolerate says what an object may keep although a new one may not have it.
type tolerate struct {
	sysAdmin, emptyImageVolume, hostUserDevices bool
}

// validateSpec checks a spec. pod is nil for a template; old is what is being replaced, if anything.
func validateSpec(spec *corev1.PodSpec, pod *metav1.ObjectMeta, at *field.Path, old *corev1.PodSpec) field.ErrorList {
	return withPaths(at, func(at *field.Path) []*field.Error { return checkSpec(spec, pod, at, old) })
}

func checkSpec(spec *corev1.PodSpec, pod *metav1.ObjectMeta, at *field.Path, old *corev1.PodSpec) field.ErrorList {
	c := &specCheck{spec: spec, pod: pod, at: at, tolerate: tolerance(old)}
	for i := range spec.ResourceClaims {
		if name := spec.ResourceClaims[i].Name; name != "" {
			c.claims = append(c.claims, name)
		}
	}
	slices.Sort(c.claims)
	c.claims = slices.Compact(c.claims)
	if spec.TerminationGracePeriodSeconds == nil {
		c.Add(field.Required(at.Child("terminationGracePeriodSeconds"), ""))
	}
	c.allVolumes()
	c.resourceClaims()
	c.containers()
	c.initContainers()
	c.ephemeralContainers()
	c.podResources()
	c.hostPorts()
	c.policies()
	c.podSecurity()
	c.scheduling()
	c.network()
	c.windowsHostProcess()
	c.hostUsers()
	c.names()
	c.operatingSystem()
	c.fileKeys()
	return c.ErrorList
}

func tolerance(old *corev1.PodSpec) tolerate {
	var t tolerate
	if old == nil {
		return t
	}
	for i := range old.Volumes {
		if v := old.Volumes[i].Image; v != nil && v.Reference == "" {
			t.emptyImageVolume = true
		}
	}
	Containers(old, nil, func(c *corev1.Container, _ *field.Path) {
		if old.HostUsers != nil && !*old.HostUsers && len(c.VolumeDevices) > 0 {
			t.hostUserDevices = true
		}
		sc := c.SecurityContext
		if sc != nil && sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation && sc.Capabilities != nil &&
			slices.Contains(sc.Capabilities.Add, "CAP_SYS_ADMIN") {
			t.sysAdmin = true
		}
	})
	return t
}

// usesHostUsers: pods share the host's user ids unless they say otherwise.
func (c *specCheck) usesHostUsers() bool { return c.spec.HostUsers == nil || *c.spec.HostUsers }

func (c *specCheck) policies() {
	spec, at := c.spec, c.at
	check.RequiredOneOf(&c.List, child(at, "restartPolicy"), spec.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	check.RequiredOneOf(&c.List, child(at, "dnsPolicy"), spec.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	if p := spec.PreemptionPolicy; p != nil {
		check.RequiredOneOf(&c.List, child(at, "preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	if s := spec.ShareProcessNamespace; s != nil && *s && spec.HostPID {
		c.Add(field.Invalid(at.Child("shareProcessNamespace"), *s, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	for i, ref := range spec.ImagePullSecrets {
		if ref != (corev1.LocalObjectReference{Name: ref.Name}) {
			c.Add(field.Invalid(at.Child("imagePullSecrets").Index(i), ref, "only name may be set"))
		}
	}
	if n := spec.ActiveDeadlineSeconds; n != nil && (*n < 1 || *n > math.MaxInt32) {
		c.Add(field.Invalid(at.Child("activeDeadlineSeconds"), *n, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
}

func (c *specCheck) names() {
	spec, at := c.spec, c.at
	if spec.ServiceAccountName != "" {
		c.Name(child(at, "serviceAccountName"), spec.ServiceAccountName, apivalidation.ValidateServiceAccountName)
	}
	if spec.DeprecatedServiceAccount != spec.ServiceAccountName {
		c.Add(field.Invalid(at.Child("deprecatedServiceAccount"), spec.DeprecatedServiceAccount,
			fmt.Sprintf("must be the same as serviceAccountName: %q", spec.ServiceAccountName)))
	}
	if spec.NodeName != "" {
		c.Subdomain(child(at, "nodeName"), spec.NodeName)
	}
	if spec.Hostname != "" {
		c.Label(child(at, "hostname"), spec.Hostname)
	}
	if spec.Subdomain != "" {
		c.Label(child(at, "subdomain"), spec.Subdomain)
	}
	if spec.PriorityClassName != "" {
		c.Subdomain(child(at, "priorityClassName"), spec.PriorityClassName)
	}
	if spec.RuntimeClassName != nil {
		c.Subdomain(child(at, "runtimeClassName"), *spec.RuntimeClassName)
	}
	if spec.HostnameOverride == nil {
		return
	}
	p := child(at, "hostnameOverride")
	if spec.SetHostnameAsFQDN != nil && *spec.SetHostnameAsFQDN {
		c.Add(field.Forbidden(p, "may not be specified when setHostnameAsFQDN is true"))
	}
	if spec.HostNetwork {
		c.Add(field.Forbidden(p, "may not be specified when hostNetwork is true"))
	}
	if len(*spec.HostnameOverride) > 64 {
		c.Add(field.TooLong(p, "", 64))
	}
	c.Subdomain(p, *spec.HostnameOverride)
}

const (
	mostNameservers  = 3
	mostSearches     = 32
	longestSearchSum = 2048
)

func (c *specCheck) network() {
	spec, at := c.spec, c.at
	for i, a := range spec.HostAliases {
		p := index(child(at, "hostAliases"), i)
		c.All(validation.IsValidIPForLegacyField(child(p, "ip"), a.IP, true, nil))
		for j, name := range a.Hostnames {
			c.Subdomain(index(child(p, "hostnames"), j), name)
		}
	}
	at = child(at, "dnsConfig")
	dns := spec.DNSConfig
	if spec.DNSPolicy == corev1.DNSNone {
		if dns == nil {
			c.Add(field.Required(at, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone)))
			return
		}
		if len(dns.Nameservers) == 0 {
			c.Add(field.Required(at.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone)))
			return
		}
	}
	if dns == nil {
		return
	}
	if len(dns.Nameservers) > mostNameservers {
		c.Add(field.Invalid(at.Child("nameservers"), dns.Nameservers, fmt.Sprintf("must not have more than %v nameservers", mostNameservers)))
	}
	for i, ip := range dns.Nameservers {
		c.All(validation.IsValidIPForLegacyField(index(child(at, "nameservers"), i), ip, true, nil))
	}
	searches := child(at, "searches")
	if len(dns.Searches) > mostSearches {
		c.Add(field.Invalid(searches, dns.Searches, fmt.Sprintf("must not have more than %v search paths", mostSearches)))
	}
	if len(strings.Join(dns.Searches, " ")) > longestSearchSum {
		c.Add(field.Invalid(searches, dns.Searches, fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", longestSearchSum)))
	}
	for i, s := range dns.Searches {
		if s != "." {
			c.Rule(index(searches, i), strings.TrimSuffix(s, "."), validation.IsDNS1123SubdomainWithUnderscore)
		}
	}
	for i, o := range dns.Options {
		if o.Name == "" {
			c.Add(field.Required(at.Child("options").Index(i), "must not be empty"))
		}
	}
}

// hostPorts: on the host's network a container's port is the host's.
func (c *specCheck) hostPorts() {
	if !c.spec.HostNetwork {
		return
	}
	for i := range c.spec.Containers {
		for k, p := range c.spec.Containers[i].Ports {
			if (c.pod != nil || p.HostPort != 0) && p.HostPort != p.ContainerPort {
				c.Add(field.Invalid(c.at.Child("containers").Index(i).Child("ports").Index(k).Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
}

// fileKeys: variables from files come from folders of the pod itself.
func (c *specCheck) fileKeys() {
	sources := map[string]*corev1.VolumeSource{}
	for i := range c.spec.Volumes {
		sources[c.spec.Volumes[i].Name] = &c.spec.Volumes[i].VolumeSource
	}
	Containers(c.spec, c.at, func(ctr *corev1.Container, at *field.Path) {
		for i := range ctr.Env {
			if ctr.Env[i].ValueFrom == nil || ctr.Env[i].ValueFrom.FileKeyRef == nil {
				continue
			}
			name := ctr.Env[i].ValueFrom.FileKeyRef.VolumeName
			p := child(child(child(index(child(at, "env"), i), "valueFrom"), "fileKeyRef"), "volumeName")
			if source, ok := sources[name]; !ok {
				c.Add(field.NotFound(p, name))
			} else if source.EmptyDir == nil {
				c.Add(field.Invalid(p, name, "referenced volume must be of type emptyDir"))
			}
		}
	})
}

// ValidateTemplate checks a pod template. old is the one that it replaces; nil for a new object.
func ValidateTemplate(t *corev1.PodTemplateSpec, at *field.Path, old *corev1.PodTemplateSpec) field.ErrorList {
	var l check.List
	l.Labels(child(at, "labels"), t.Labels)
	l.All(apivalidation.ValidateAnnotations(t.Annotations, child(at, "annotations")))
	l.All(validateAnnotations(t.Annotations, &t.Spec, child(at, "annotations")))
	var oldSpec *corev1.PodSpec
	if old != nil {
		oldSpec = &old.Spec
	}
	l.All(validateSpec(&t.Spec, nil, child(at, "spec"), oldSpec))
	l.All(annotationsAgree(t.Annotations, &t.Spec, child(at, "spec")))
	if len(t.Spec.EphemeralContainers) > 0 {
		l.Add(field.Forbidden(at.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return l.ErrorList
}
