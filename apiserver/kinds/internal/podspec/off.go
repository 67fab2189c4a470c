package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DropOff removes the fields of features that v1.37 has switched off, unless the old spec uses them already: whoever
// sets them finds them gone, as upstream does it, rather than kept and ignored.
func DropOff(spec, old *corev1.PodSpec) {
	used := usedOff(old)
	if !used.group {
		spec.SchedulingGroup = nil
	}
	if !used.responders {
		spec.EvictionResponders = nil
	}
	Containers(spec, nil, func(c *corev1.Container, _ *field.Path) {
		if !used.mountOptions {
			for i := range c.VolumeMounts {
				c.VolumeMounts[i].BindMountOptions = nil
			}
		}
		if l := c.Lifecycle; l != nil && l.StopSignal != nil && !used.stopSignal {
			l.StopSignal = nil
			if *l == (corev1.Lifecycle{}) {
				c.Lifecycle = nil
			}
		}
		if !used.protocol {
			for _, h := range httpGets(c) {
				h.Protocol = nil
			}
		}
		if !used.grpcMode {
			for _, p := range probes(c) {
				if p.GRPC != nil {
					p.GRPC.Mode = nil
				}
			}
		}
	})
	for i := range spec.Volumes {
		v := &spec.Volumes[i].VolumeSource
		if v.EmptyDir != nil && !used.dirMode {
			v.EmptyDir.Mode = nil
		}
		if !used.fileUser {
			for _, u := range fileUsers(v) {
				*u = nil
			}
		}
	}
}

// offInUse says which of the fields a spec uses.
type offInUse struct{ group, responders, mountOptions, stopSignal, protocol, grpcMode, dirMode, fileUser bool }

func usedOff(spec *corev1.PodSpec) offInUse {
	var used offInUse
	if spec == nil {
		return used
	}
	used.group = spec.SchedulingGroup != nil
	used.responders = len(spec.EvictionResponders) > 0
	Containers(spec, nil, func(c *corev1.Container, _ *field.Path) {
		for i := range c.VolumeMounts {
			used.mountOptions = used.mountOptions || c.VolumeMounts[i].BindMountOptions != nil
		}
		used.stopSignal = used.stopSignal || c.Lifecycle != nil && c.Lifecycle.StopSignal != nil
		for _, h := range httpGets(c) {
			used.protocol = used.protocol || h.Protocol != nil
		}
		for _, p := range probes(c) {
			used.grpcMode = used.grpcMode || p.GRPC != nil && p.GRPC.Mode != nil
		}
	})
	for i := range spec.Volumes {
		v := &spec.Volumes[i].VolumeSource
		used.dirMode = used.dirMode || v.EmptyDir != nil && v.EmptyDir.Mode != nil
		for _, u := range fileUsers(v) {
			used.fileUser = used.fileUser || *u != nil
		}
	}
	return used
}

// DropTemplateOff is DropOff for a template; annotations of long ago go too.
func DropTemplateOff(t, old *corev1.PodTemplateSpec) {
	if t == nil {
		return
	}
	dropOldAnnotations(t.Annotations)
	if old == nil {
		DropOff(&t.Spec, nil)
		return
	}
	DropOff(&t.Spec, &old.Spec)
}

// dropOldAnnotations removes annotations that described init containers before they had a field.
func dropOldAnnotations(annotations map[string]string) {
	for _, stage := range []string{"alpha", "beta"} {
		delete(annotations, "pod."+stage+".kubernetes.io/init-containers")
		delete(annotations, "pod."+stage+".kubernetes.io/init-container-statuses")
	}
}

func probes(c *corev1.Container) []*corev1.Probe {
	var out []*corev1.Probe
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil {
			out = append(out, p)
		}
	}
	return out
}

func httpGets(c *corev1.Container) []*corev1.HTTPGetAction {
	var out []*corev1.HTTPGetAction
	for _, p := range probes(c) {
		if p.HTTPGet != nil {
			out = append(out, p.HTTPGet)
		}
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil && h.HTTPGet != nil {
				out = append(out, h.HTTPGet)
			}
		}
	}
	return out
}

// fileUsers are the fields that name the owner of a volume's files.
func fileUsers(v *corev1.VolumeSource) []**int64 {
	var out []**int64
	items := func(keys []corev1.KeyToPath) {
		for i := range keys {
			out = append(out, &keys[i].User)
		}
	}
	files := func(files []corev1.DownwardAPIVolumeFile) {
		for i := range files {
			out = append(out, &files[i].User)
		}
	}
	if v.Secret != nil {
		out = append(out, &v.Secret.DefaultUser)
		items(v.Secret.Items)
	}
	if v.ConfigMap != nil {
		out = append(out, &v.ConfigMap.DefaultUser)
		items(v.ConfigMap.Items)
	}
	if v.DownwardAPI != nil {
		out = append(out, &v.DownwardAPI.DefaultUser)
		files(v.DownwardAPI.Items)
	}
	if v.Projected != nil {
		out = append(out, &v.Projected.DefaultUser)
		for i := range v.Projected.Sources {
			s := &v.Projected.Sources[i]
			if s.Secret != nil {
				items(s.Secret.Items)
			}
			if s.ConfigMap != nil {
				items(s.ConfigMap.Items)
			}
			if s.DownwardAPI != nil {
				files(s.DownwardAPI.Items)
			}
			if s.ServiceAccountToken != nil {
				out = append(out, &s.ServiceAccountToken.User)
			}
			if s.ClusterTrustBundle != nil {
				out = append(out, &s.ClusterTrustBundle.User)
			}
			if s.PodCertificate != nil {
				out = append(out, &s.PodCertificate.User)
			}
		}
	}
	return out
}
