package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

// DefaultVolume fills in a volume; one without a source is an empty folder.
func DefaultVolume(v *corev1.Volume) {
	s := &v.VolumeSource
	if *s == (corev1.VolumeSource{}) {
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch {
	case s.HostPath != nil:
		fill.Nil(&s.HostPath.Type, corev1.HostPathUnset)
	case s.Secret != nil:
		fill.Nil(&s.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	case s.ConfigMap != nil:
		fill.Nil(&s.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	case s.DownwardAPI != nil:
		fill.Nil(&s.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultFiles(s.DownwardAPI.Items)
	case s.Projected != nil:
		defaultProjected(s.Projected)
	}
	if s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate != nil {
		DefaultClaimSpec(&s.Ephemeral.VolumeClaimTemplate.Spec)
	}
	if s.Image != nil {
		if s.Image.PullPolicy == "" {
			s.Image.PullPolicy = pullPolicy(s.Image.Reference)
		}
	}
	DefaultISCSI(s.ISCSI)
	if s.RBD != nil {
		fill.Empty(&s.RBD.RBDPool, "rbd")
		fill.Empty(&s.RBD.RadosUser, "admin")
		fill.Empty(&s.RBD.Keyring, "/etc/ceph/keyring")
	}
	DefaultAzureDisk(s.AzureDisk)
	if s.ScaleIO != nil {
		fill.Empty(&s.ScaleIO.StorageMode, "ThinProvisioned")
		fill.Empty(&s.ScaleIO.FSType, "xfs")
	}
}

// DefaultISCSI is shared with persistent volumes of the same layout.
func DefaultISCSI(s *corev1.ISCSIVolumeSource) {
	if s != nil {
		fill.Empty(&s.ISCSIInterface, "default")
	}
}

// DefaultAzureDisk fills in an Azure disk, of a pod or of a persistent volume.
func DefaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	if d == nil {
		return
	}
	fill.Nil(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	fill.Nil(&d.Kind, corev1.AzureSharedBlobDisk)
	fill.Nil(&d.FSType, "ext4")
	fill.Nil(&d.ReadOnly, false)
}

// DefaultClaimSpec fills in a claim, on its own or in a template.
func DefaultClaimSpec(spec *corev1.PersistentVolumeClaimSpec) {
	fill.Nil(&spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	fill.Quantities(spec.Resources.Limits)
	fill.Quantities(spec.Resources.Requests)
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	fill.Nil(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	const hour = 60 * 60
	for i := range p.Sources {
		if d := p.Sources[i].DownwardAPI; d != nil {
			defaultFiles(d.Items)
		}
		if t := p.Sources[i].ServiceAccountToken; t != nil {
			fill.Nil(&t.ExpirationSeconds, hour)
		}
	}
}

func defaultFiles(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}
