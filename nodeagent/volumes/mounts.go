package volumes

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/nodeagent/env"
	"github.com/skiff-project/skiff/nodeagent/runtime"
)

// Mounts are the volumes that a container wants mounted. Messages about sub-paths say nothing of the node's file system: the pod's
// owner could learn from them what is there.
func (p *Pod) Mounts(pod *corev1.Pod, c *corev1.Container, vars env.Vars) ([]runtime.Mount, error) {
	var mounts []runtime.Mount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		p.mu.Lock()
		v := p.ready[m.Name]
		p.mu.Unlock()
		if v == nil {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		sub, err := subPath(m, vars)
		if err != nil {
			return nil, err
		}
		mount := runtime.Mount{
			HostPath: v.path, ContainerPath: filepath.Join("/", m.MountPath), ReadOnly: m.ReadOnly || v.readOnly,
			Propagation: propagation(m), RecursiveReadOnly: recursive(m),
		}
		switch {
		case v.image != "":
			mount.Image, mount.ImageSubPath, mount.ReadOnly, mount.NoExec = v.image, sub, true, true
		case sub != "":
			if mount.HostPath, err = p.bindSubPath(m.Name, v.path, sub, c.Name, i); err != nil {
				slog.Warn("sub-path refused", "pod", pod.Namespace+"/"+pod.Name, "container", c.Name, "volume", m.Name, "subPath", sub, "err", err)
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q", m.Name, c.Name)
			}
		}
		mounts = append(mounts, mount)
	}
	return mounts, nil
}

func subPath(m *corev1.VolumeMount, vars env.Vars) (string, error) {
	sub := m.SubPath
	if m.SubPathExpr != "" {
		expanded, missing := env.ExpandStrict(m.SubPathExpr, vars.Own)
		if len(missing) > 0 {
			return "", fmt.Errorf("missing value for %q", strings.Join(missing, ", "))
		}
		sub = expanded
	}
	if sub == "" {
		return "", nil
	}
	if filepath.IsAbs(sub) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	for _, part := range strings.Split(filepath.ToSlash(sub), "/") {
		if part == ".." {
			return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
		}
	}
	return sub, nil
}

func propagation(m *corev1.VolumeMount) runtime.Propagation {
	if m.MountPropagation == nil {
		return runtime.PropagationPrivate
	}
	return runtime.Propagation(*m.MountPropagation)
}

func recursive(m *corev1.VolumeMount) bool {
	return m.ReadOnly && m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled
}

// ImageRefs are the image volumes of a pod: volume name to source.
func ImageRefs(pod *corev1.Pod) map[string]*corev1.ImageVolumeSource {
	var refs map[string]*corev1.ImageVolumeSource
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			if refs == nil {
				refs = map[string]*corev1.ImageVolumeSource{}
			}
			refs[pod.Spec.Volumes[i].Name] = image
		}
	}
	return refs
}
