package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

func defaultPod(p *corev1.Pod) {
	podspec.Default(&p.Spec)
	podspec.DefaultPod(p)
}

// defaultReplicationController: the labels of the template stand in for a missing selector and missing labels.
func defaultReplicationController(rc *corev1.ReplicationController) {
	fill.Nil(&rc.Spec.Replicas, 1)
	if rc.Spec.Template == nil {
		return
	}
	if labels := rc.Spec.Template.Labels; labels != nil {
		if len(rc.Spec.Selector) == 0 {
			rc.Spec.Selector = labels
		}
		if len(rc.Labels) == 0 {
			rc.Labels = labels
		}
	}
	podspec.Default(&rc.Spec.Template.Spec)
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	fill.Empty(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			seconds := corev1.DefaultClientIPServiceAffinitySeconds
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
		}
	}
	fill.Empty(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		fill.Empty(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if reachableFromOutside(s) {
		fill.Empty(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	switch spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		fill.Nil(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		fill.Nil(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range s.Status.LoadBalancer.Ingress {
			if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				fill.Nil(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// reachableFromOutside says whether a Service has an address beside its cluster IP.
func reachableFromOutside(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort ||
		s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
}

func defaultPersistentVolume(v *corev1.PersistentVolume) {
	fill.Empty(&v.Status.Phase, corev1.VolumePending)
	spec := &v.Spec
	fill.Empty(&spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	fill.Nil(&spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	fill.Quantities(spec.Capacity)
	if spec.HostPath != nil {
		fill.Nil(&spec.HostPath.Type, corev1.HostPathUnset)
	}
	if spec.RBD != nil {
		fill.Empty(&spec.RBD.RBDPool, "rbd")
		fill.Empty(&spec.RBD.RadosUser, "admin")
		fill.Empty(&spec.RBD.Keyring, "/etc/ceph/keyring")
	}
	if spec.ISCSI != nil {
		fill.Empty(&spec.ISCSI.ISCSIInterface, "default")
	}
	podspec.DefaultAzureDisk(spec.AzureDisk)
	if spec.ScaleIO != nil {
		fill.Empty(&spec.ScaleIO.StorageMode, "ThinProvisioned")
		fill.Empty(&spec.ScaleIO.FSType, "xfs")
	}
}

func defaultPersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	fill.Empty(&c.Status.Phase, corev1.ClaimPending)
	podspec.DefaultClaimSpec(&c.Spec)
	fill.Quantities(c.Status.Capacity)
	fill.Quantities(c.Status.AllocatedResources)
}

func defaultEndpoints(e *corev1.Endpoints) {
	for i := range e.Subsets {
		for j := range e.Subsets[i].Ports {
			fill.Empty(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
		}
	}
}

// defaultNode: a node can give away all that it has.
func defaultNode(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
	defaultNodeRanges(n)
	fill.Quantities(n.Status.Capacity)
	fill.Quantities(n.Status.Allocatable)
}

func defaultResourceQuota(q *corev1.ResourceQuota) {
	fill.Quantities(q.Spec.Hard)
	fill.Quantities(q.Status.Hard)
	fill.Quantities(q.Status.Used)
}

// defaultLimitRange: for containers, the most is the default, the default the default request, and failing that the least.
func defaultLimitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type == corev1.LimitTypeContainer {
			if item.Default == nil {
				item.Default = corev1.ResourceList{}
			}
			if item.DefaultRequest == nil {
				item.DefaultRequest = corev1.ResourceList{}
			}
			addMissing(item.Default, item.Max)
			addMissing(item.DefaultRequest, item.Default)
			addMissing(item.DefaultRequest, item.Min)
		}
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			fill.Quantities(list)
		}
	}
}

func addMissing(to, from corev1.ResourceList) {
	for name, q := range from {
		if _, has := to[name]; !has {
			to[name] = q.DeepCopy()
		}
	}
}

func defaultSecret(s *corev1.Secret) { fill.Empty(&s.Type, corev1.SecretTypeOpaque) }

func defaultPodTemplate(p *corev1.PodTemplate) { podspec.Default(&p.Template.Spec) }
