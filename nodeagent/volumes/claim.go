package volumes

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// claim puts the volume behind a claim into place. Volumes of this node's own file system need no mount of their own.
func (p *Pod) claim(ctx context.Context, pod *corev1.Pod, name string, readOnly bool) (*volume, error) {
	pvc, pv, err := p.cfg.Objects.Claim(ctx, pod.Namespace, name)
	if err != nil {
		return nil, fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, name, err)
	}
	if pvc.DeletionTimestamp != nil && len(pvc.Finalizers) == 0 {
		return nil, fmt.Errorf("error processing PVC %s/%s: PVC is being deleted", pod.Namespace, name)
	}
	if pvc.Spec.VolumeMode != nil && *pvc.Spec.VolumeMode == corev1.PersistentVolumeBlock {
		return nil, fmt.Errorf("volume %s has volumeMode Block, which this node does not support", pv.Name)
	}
	source := pv.Spec.PersistentVolumeSource
	switch {
	case source.HostPath != nil:
		path := p.cfg.HostRoot + source.HostPath.Path
		return &volume{path: path, readOnly: readOnly}, checkHostPath(path, source.HostPath.Type)
	case source.Local != nil:
		path := p.cfg.HostRoot + source.Local.Path
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("path %q does not exist", source.Local.Path)
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("path %q is not a directory", source.Local.Path)
		}
		return &volume{path: path, readOnly: readOnly}, own(path, pod, readOnly)
	}
	return nil, fmt.Errorf("failed to get Plugin from volumeSpec for volume %q err=no volume plugin matched", pv.Name)
}
