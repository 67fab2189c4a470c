package podspec

import (
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

// Default fills in a pod spec, of a pod or of a template.
func Default(spec *corev1.PodSpec) {
	// The older name of the field is kept equal to the newer, which wins.
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	if spec.DeprecatedServiceAccount != spec.ServiceAccountName {
		spec.DeprecatedServiceAccount = spec.ServiceAccountName
	}
	fill.Empty(&spec.DNSPolicy, corev1.DNSClusterFirst)
	fill.Empty(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	fill.Empty(&spec.SchedulerName, corev1.DefaultSchedulerName)
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	fill.Nil(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	fill.Quantities(spec.Overhead)
	if spec.Resources != nil {
		fill.Quantities(spec.Resources.Limits)
		fill.Quantities(spec.Resources.Requests)
	}
	for i := range spec.Volumes {
		DefaultVolume(&spec.Volumes[i])
	}
	Containers(spec, nil, func(c *corev1.Container, _ *field.Path) { defaultContainer(c) })
}

// DefaultPod fills in what is filled in for pods but not for templates.
func DefaultPod(pod *corev1.Pod) {
	spec := &pod.Spec
	if t := spec.TerminationGracePeriodSeconds; t != nil && *t < 0 {
		one := int64(1)
		spec.TerminationGracePeriodSeconds = &one
	}
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			requestLimits(&containers[i].Resources)
		}
	}
	fill.Nil(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if spec.HostNetwork {
		for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
			for i := range containers {
				publishPorts(containers[i].Ports)
			}
		}
	}
	defaultIPs(&pod.Status)
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range statuses {
			fill.Quantities(statuses[i].AllocatedResources)
			if r := statuses[i].Resources; r != nil {
				fill.Quantities(r.Limits)
				fill.Quantities(r.Requests)
			}
		}
	}
}

// requestLimits requests what is limited where nothing is said about the request.
func requestLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, limit := range r.Limits {
		if _, said := r.Requests[name]; !said {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// publishPorts: on the host's network a container port is a host port.
func publishPorts(ports []corev1.ContainerPort) {
	for i := range ports {
		if ports[i].HostPort == 0 {
			ports[i].HostPort = ports[i].ContainerPort
		}
	}
}

// defaultIPs keeps podIP and the first of podIPs equal; podIP wins, since older agents know only that.
func defaultIPs(s *corev1.PodStatus) {
	switch {
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	}
}

func defaultContainer(c *corev1.Container) {
	if c.ImagePullPolicy == "" { // to read the image's name costs more than all other defaults together
		c.ImagePullPolicy = pullPolicy(c.Image)
	}
	fill.Empty(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	fill.Empty(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		fill.Empty(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		from := c.Env[i].ValueFrom
		if from == nil {
			continue
		}
		defaultFieldRef(from.FieldRef)
		if from.FileKeyRef != nil {
			fill.Nil(&from.FileKeyRef.Optional, false)
		}
	}
	fill.Quantities(c.Resources.Limits)
	fill.Quantities(c.Resources.Requests)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

// pullPolicy: an image without a tag or digest, or with the tag latest, may mean something else tomorrow.
func pullPolicy(image string) corev1.PullPolicy {
	// Nearly all images have a tag that can be seen without taking their name apart.
	last := image[strings.LastIndexByte(image, '/')+1:]
	if _, tag, has := strings.Cut(last, ":"); has && tag != "latest" && !strings.Contains(image, "@") {
		return corev1.PullIfNotPresent
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := named.(reference.Tagged); ok && tagged.Tag() == "latest" || reference.IsNameOnly(named) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	fill.Empty(&p.TimeoutSeconds, 1)
	fill.Empty(&p.PeriodSeconds, 10)
	fill.Empty(&p.SuccessThreshold, 1)
	fill.Empty(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		fill.Nil(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(h *corev1.HTTPGetAction) {
	if h != nil {
		fill.Empty(&h.Path, "/")
		fill.Empty(&h.Scheme, corev1.URISchemeHTTP)
	}
}

func defaultFieldRef(f *corev1.ObjectFieldSelector) {
	if f != nil {
		fill.Empty(&f.APIVersion, "v1")
	}
}
