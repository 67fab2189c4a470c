package staticpods

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// defaults fills in what the API server would have: no static pod has gone through it.
func defaults(pod *corev1.Pod) {
	s := &pod.Spec
	set(&s.RestartPolicy, corev1.RestartPolicyAlways)
	set(&s.DNSPolicy, corev1.DNSClusterFirst)
	set(&s.SchedulerName, corev1.DefaultSchedulerName)
	point(&s.TerminationGracePeriodSeconds, 30)
	point(&s.EnableServiceLinks, true)
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	for i := range s.Volumes {
		volume(&s.Volumes[i])
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			container(&list[i], s.HostNetwork)
		}
	}
}

func set[T ~string](v *T, value T) {
	if *v == "" {
		*v = value
	}
}

func point[T any](v **T, value T) {
	if *v == nil {
		*v = &value
	}
}

func volume(v *corev1.Volume) {
	switch {
	case v.ConfigMap != nil:
		point(&v.ConfigMap.DefaultMode, 0o644)
	case v.Secret != nil:
		point(&v.Secret.DefaultMode, 0o644)
	case v.DownwardAPI != nil:
		point(&v.DownwardAPI.DefaultMode, 0o644)
	case v.Projected != nil:
		point(&v.Projected.DefaultMode, 0o644)
	case v.HostPath != nil:
		point(&v.HostPath.Type, corev1.HostPathUnset)
	}
}

func container(c *corev1.Container, hostNetwork bool) {
	set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	set(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = corev1.PullIfNotPresent
		name := c.Image[strings.LastIndex(c.Image, "/")+1:]
		if !strings.Contains(c.Image, "@") && (!strings.Contains(name, ":") || strings.HasSuffix(name, ":latest")) {
			c.ImagePullPolicy = corev1.PullAlways
		}
	}
	for i := range c.Ports {
		set(&c.Ports[i].Protocol, corev1.ProtocolTCP)
		if hostNetwork && c.Ports[i].HostPort == 0 {
			c.Ports[i].HostPort = c.Ports[i].ContainerPort
		}
	}
	for name, q := range c.Resources.Limits {
		if _, ok := c.Resources.Requests[name]; !ok {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = q
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		probe(p)
	}
}

func probe(p *corev1.Probe) {
	if p == nil {
		return
	}
	for _, f := range []struct {
		field *int32
		value int32
	}{{&p.TimeoutSeconds, 1}, {&p.PeriodSeconds, 10}, {&p.SuccessThreshold, 1}, {&p.FailureThreshold, 3}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if p.HTTPGet != nil {
		set(&p.HTTPGet.Scheme, corev1.URISchemeHTTP)
		set(&p.HTTPGet.Path, "/")
	}
}
