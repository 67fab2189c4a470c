package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// ValidateInlineVolumeSpec checks a volume that stands inside another object (a VolumeAttachment): it is translated from
// an old plugin's, so it is a CSI volume and has nothing that binding would look at.
func ValidateInlineVolumeSpec(spec *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	var l check.List
	forbid := func(present bool, name, why string) {
		if present {
			l.Add(field.Forbidden(at.Child(name), why+"in the context of inline volumes"))
		}
	}
	const never = "may not be specified "
	forbid(spec.ClaimRef != nil, "claimRef", never)
	forbid(len(spec.Capacity) != 0, "capacity", never)
	if spec.CSI == nil {
		l.Add(field.Required(at.Child("csi"), "has to be specified in the context of inline volumes"))
	}
	if len(spec.AccessModes) == 0 {
		l.Add(field.Required(at.Child("accessModes"), ""))
	}
	podspec.AccessModes(&l, spec.AccessModes, at.Child("accessModes"))
	policy := spec.PersistentVolumeReclaimPolicy
	forbid(policy != "" && policy != corev1.PersistentVolumeReclaimRetain, "persistentVolumeReclaimPolicy", "may only be Retain ")
	forbid(spec.NodeAffinity != nil, "nodeAffinity", never)
	unbound := *spec
	unbound.NodeAffinity = nil
	volumeSource(&l, &unbound, "", at)
	forbid(spec.StorageClassName != "", "storageClassName", never)
	forbid(spec.VolumeMode != nil && *spec.VolumeMode != corev1.PersistentVolumeFilesystem, "volumeMode", "may not specify volumeMode other than Filesystem ")
	return l.ErrorList
}
