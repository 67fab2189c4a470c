package core

import (
	"fmt"
	"maps"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

func validatePersistentVolume(_ *kinds.Request, v *corev1.PersistentVolume) field.ErrorList {
	l := check.List{ErrorList: ValidateVolumeSpec(&v.Spec, v.Name, field.NewPath("spec"))}
	if _, ok := v.Annotations[corev1.MountOptionAnnotation]; ok && !mountable(&v.Spec.PersistentVolumeSource) {
		l.Add(field.Forbidden(field.NewPath("metadata", "annotations", corev1.MountOptionAnnotation), "may not specify mount options for this volume type"))
	}
	return l.ErrorList
}

// mountable says whether the old annotation with mount options means something for a volume.
func mountable(s *corev1.PersistentVolumeSource) bool {
	return s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil || s.Glusterfs != nil || s.NFS != nil || s.RBD != nil ||
		s.Quobyte != nil || s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil || s.AzureFile != nil || s.VsphereVolume != nil ||
		s.AzureDisk != nil || s.PhotonPersistentDisk != nil
}

// ValidateVolumeSpec checks what a persistent volume says.
func ValidateVolumeSpec(spec *corev1.PersistentVolumeSpec, name string, at *field.Path) field.ErrorList {
	var l check.List
	if len(spec.AccessModes) == 0 {
		l.Add(field.Required(at.Child("accessModes"), ""))
	}
	podspec.AccessModes(&l, spec.AccessModes, at.Child("accessModes"))
	volumeCapacity(&l, spec.Capacity, at.Child("capacity"))
	if p := spec.PersistentVolumeReclaimPolicy; p != "" {
		check.OneOf(&l, at.Child("persistentVolumeReclaimPolicy"), p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	}
	volumeAffinity(&l, spec.NodeAffinity, at.Child("nodeAffinity"))
	volumeSource(&l, spec, name, at)
	if h := spec.HostPath; h != nil && path.Clean(h.Path) == "/" && spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		l.Add(field.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	if spec.StorageClassName != "" {
		l.Name(at.Child("storageClassName"), spec.StorageClassName, apivalidation.NameIsDNSSubdomain)
	}
	if m := spec.VolumeMode; m != nil {
		check.OneOf(&l, at.Child("volumeMode"), *m, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	if class := spec.VolumeAttributesClassName; class != nil {
		p := at.Child("volumeAttributesClassName")
		if *class == "" {
			l.Add(field.Required(p, "an empty string is disallowed"))
		} else {
			l.Name(p, *class, apivalidation.NameIsDNSSubdomain)
		}
		if spec.CSI == nil {
			l.Add(field.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	return l.ErrorList
}

func volumeCapacity(l *check.List, capacity corev1.ResourceList, at *field.Path) {
	if len(capacity) == 0 {
		l.Add(field.Required(at, ""))
	}
	if _, ok := capacity[corev1.ResourceStorage]; !ok || len(capacity) > 1 {
		l.Add(field.NotSupported(at, shape.Of(capacity), []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range slices.Sorted(maps.Keys(capacity)) {
		q := capacity[name]
		basicQuantity(l, name, q.Value(), at)
		if q.Sign() <= 0 {
			l.Add(field.Invalid(at.Key(string(name)), q.String(), "must be greater than zero"))
		}
	}
}

func basicQuantity(l *check.List, name corev1.ResourceName, value int64, at *field.Path) {
	if value < 0 {
		l.Add(field.Invalid(at.Key(string(name)), value, "must be a valid resource quantity"))
	}
}

func volumeAffinity(l *check.List, a *corev1.VolumeNodeAffinity, at *field.Path) {
	switch {
	case a == nil:
	case a.Required == nil:
		l.Add(field.Required(at.Child("required"), "must specify required node constraints"))
	default:
		podspec.NodeSelector(l, a.Required, at.Child("required"))
	}
}

// volumeSource looks into the first source; a second is one too many, except that upstream overlooks flexVolume's.
func volumeSource(l *check.List, spec *corev1.PersistentVolumeSpec, volume string, at *field.Path) {
	found := false
	source := func(present bool, name string, look func()) {
		switch {
		case !present:
		case found:
			l.Add(field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
		default:
			found = true
			look()
		}
	}
	s := &spec.PersistentVolumeSource
	source(s.HostPath != nil, "hostPath", func() { podspec.HostPath(l, s.HostPath, at.Child("hostPath")) })
	source(s.GCEPersistentDisk != nil, "gcePersistentDisk", func() { podspec.GCEDisk(l, s.GCEPersistentDisk, at.Child("persistentDisk")) })
	source(s.AWSElasticBlockStore != nil, "awsElasticBlockStore", func() { podspec.AWSDisk(l, s.AWSElasticBlockStore, at.Child("awsElasticBlockStore")) })
	source(s.Glusterfs != nil, "glusterfs", func() {
		p := at.Child("glusterfs")
		l.Require(p.Child("endpoints"), s.Glusterfs.EndpointsName)
		l.Require(p.Child("path"), s.Glusterfs.Path)
		if ns := s.Glusterfs.EndpointsNamespace; ns != nil && *ns == "" {
			l.Add(field.Invalid(p.Child("endpointsNamespace"), *ns, "if the endpointnamespace is set, it must be a valid namespace name"))
		} else if ns != nil {
			l.Name(p.Child("endpointsNamespace"), *ns, apivalidation.ValidateNamespaceName)
		}
	})
	source(s.Flocker != nil, "flocker", func() { podspec.Flocker(l, s.Flocker, at.Child("flocker")) })
	source(s.NFS != nil, "nfs", func() { podspec.NFS(l, s.NFS, at.Child("nfs")) })
	source(s.RBD != nil, "rbd", func() { podspec.RBD(l, s.RBD.CephMonitors, s.RBD.RBDImage, at.Child("rbd")) })
	source(s.Quobyte != nil, "quobyte", func() { podspec.Quobyte(l, s.Quobyte, at.Child("quobyte")) })
	source(s.CephFS != nil, "cephFS", func() {
		if len(s.CephFS.Monitors) == 0 {
			l.Add(field.Required(at.Child("cephfs", "monitors"), ""))
		}
	})
	source(s.ISCSI != nil, "iscsi", func() { podspec.PersistentISCSI(l, s.ISCSI, volume, at.Child("iscsi")) })
	source(s.Cinder != nil, "cinder", func() {
		p := at.Child("cinder")
		l.Require(p.Child("volumeID"), s.Cinder.VolumeID)
		secretNamed(l, s.Cinder.SecretRef, p)
	})
	source(s.FC != nil, "fc", func() { podspec.FC(l, s.FC, at.Child("fc")) })
	if s.FlexVolume != nil {
		found = true
		podspec.Flex(l, s.FlexVolume.Driver, s.FlexVolume.Options, at.Child("flexVolume"))
	}
	source(s.AzureFile != nil, "azureFile", func() {
		p := at.Child("azureFile")
		l.Require(p.Child("secretName"), s.AzureFile.SecretName)
		l.Require(p.Child("shareName"), s.AzureFile.ShareName)
		if ns := s.AzureFile.SecretNamespace; ns != nil {
			l.Require(p.Child("secretNamespace"), *ns)
		}
	})
	source(s.VsphereVolume != nil, "vsphereVolume", func() { l.Require(at.Child("vsphereVolume", "volumePath"), s.VsphereVolume.VolumePath) })
	source(s.PhotonPersistentDisk != nil, "photonPersistentDisk", func() { l.Require(at.Child("photonPersistentDisk", "pdID"), s.PhotonPersistentDisk.PdID) })
	source(s.PortworxVolume != nil, "portworxVolume", func() { l.Require(at.Child("portworxVolume", "volumeID"), s.PortworxVolume.VolumeID) })
	source(s.AzureDisk != nil, "azureDisk", func() { podspec.AzureDisk(l, s.AzureDisk, at.Child("azureDisk")) })
	source(s.ScaleIO != nil, "scaleIO", func() {
		podspec.ScaleIO(l, s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName, at.Child("scaleIO"))
	})
	source(s.Local != nil, "local", func() {
		if l.Require(at.Child("local", "path"), s.Local.Path) {
			l.NoBacksteps(at.Child("local", "path"), s.Local.Path)
		}
		if spec.NodeAffinity == nil {
			l.Add(field.Required(at.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
	})
	source(s.StorageOS != nil, "storageos", func() {
		podspec.StorageOS(l, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at.Child("storageos"))
		if ref := s.StorageOS.SecretRef; ref != nil {
			l.Require(at.Child("storageos", "secretRef", "name"), ref.Name)
			l.Require(at.Child("storageos", "secretRef", "namespace"), ref.Namespace)
		}
	})
	source(s.CSI != nil, "csi", func() { csiVolume(l, s.CSI, at.Child("csi")) })
	if !found {
		l.Add(field.Required(at, "must specify a volume type"))
	}
}

func secretNamed(l *check.List, ref *corev1.SecretReference, at *field.Path) {
	if ref != nil {
		l.Require(at.Child("secretRef", "name"), ref.Name)
		l.Require(at.Child("secretRef", "namespace"), ref.Namespace)
	}
}

func csiVolume(l *check.List, s *corev1.CSIPersistentVolumeSource, at *field.Path) {
	podspec.CSIDriverName(l, s.Driver, at.Child("driver"))
	l.Require(at.Child("volumeHandle"), s.VolumeHandle)
	for _, secret := range []struct {
		name string
		ref  *corev1.SecretReference
	}{
		{"controllerPublishSecretRef", s.ControllerPublishSecretRef}, {"controllerExpandSecretRef", s.ControllerExpandSecretRef},
		{"nodePublishSecretRef", s.NodePublishSecretRef}, {"nodeExpandSecretRef", s.NodeExpandSecretRef},
	} {
		if secret.ref == nil {
			continue
		}
		p := at.Child(secret.name)
		if l.Require(p.Child("name"), secret.ref.Name) {
			l.Subdomain(p.Child("name"), secret.ref.Name)
		}
		if l.Require(p.Child("namespace"), secret.ref.Namespace) {
			l.Label(p.Child("namespace"), secret.ref.Namespace)
		}
	}
}

// validatePersistentVolumeUpdate adds to a validation like that of a new volume another one: upstream has both the write
// path and the update do it, and reports each mistake twice.
func validatePersistentVolumeUpdate(_ *kinds.Request, v, old *corev1.PersistentVolume) field.ErrorList {
	l := check.List{ErrorList: kinds.ValidateMeta(v, kinds.Cluster, kinds.Subdomain)}
	l.All(ValidateVolumeSpec(&v.Spec, v.Name, field.NewPath("spec")))
	now, before := v.Spec.PersistentVolumeSource.DeepCopy(), &old.Spec.PersistentVolumeSource
	if before.CSI != nil && before.CSI.ControllerExpandSecretRef == nil && now.CSI != nil {
		// A driver may learn to expand later.
		now.CSI.ControllerExpandSecretRef = nil
	}
	if !apiequality.Semantic.DeepEqual(now, before) {
		l.Add(field.Forbidden(field.NewPath("spec", "persistentvolumesource"), "spec.persistentvolumesource is immutable after creation\n"+shape.Diff(*before, *now)))
	}
	l.Immutable(field.NewPath("volumeMode"), v.Spec.VolumeMode, old.Spec.VolumeMode)
	if old.Spec.NodeAffinity != nil && !apiequality.Semantic.DeepEqual(v.Spec.NodeAffinity, withNewLabels(old.Spec.NodeAffinity, v.Spec.NodeAffinity)) {
		l.Add(field.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, "field is immutable, except for updating from beta label to GA"))
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		l.Add(field.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return l.ErrorList
}

// newLabels are what the labels of nodes were renamed to.
var newLabels = map[string]string{
	corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	corev1.LabelInstanceType: corev1.LabelInstanceTypeStable,
	"beta.kubernetes.io/os":  corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable,
}

// withNewLabels is old with the labels renamed that are renamed in now.
func withNewLabels(old, now *corev1.VolumeNodeAffinity) *corev1.VolumeNodeAffinity {
	if old.Required == nil || now == nil || now.Required == nil || len(old.Required.NodeSelectorTerms) != len(now.Required.NodeSelectorTerms) {
		return old
	}
	out := old.DeepCopy()
	for i := range out.Required.NodeSelectorTerms {
		rename(out.Required.NodeSelectorTerms[i].MatchExpressions, now.Required.NodeSelectorTerms[i].MatchExpressions)
		rename(out.Required.NodeSelectorTerms[i].MatchFields, now.Required.NodeSelectorTerms[i].MatchFields)
	}
	return out
}

func rename(old, now []corev1.NodeSelectorRequirement) {
	for i := range min(len(old), len(now)) {
		if name, ok := newLabels[old[i].Key]; ok && name == now[i].Key {
			old[i].Key = name
		}
	}
}

func validatePersistentVolumeStatus(_ *kinds.Request, v, _ *corev1.PersistentVolume) field.ErrorList {
	var l check.List
	l.Require(field.NewPath("resourceVersion"), v.ResourceVersion)
	return l.ErrorList
}

// preparePersistentVolume: a new volume waits to be looked at.
func preparePersistentVolume(req *kinds.Request, v *corev1.PersistentVolume) {
	v.Status.Phase = corev1.VolumePending
	v.Status.LastPhaseTransitionTime = &metav1.Time{Time: req.Now}
}

// stampPhase keeps the time of the last change of phase, unless the writer says when it was.
func stampPhase(req *kinds.Request, v, old *corev1.PersistentVolume) {
	at, was := v.Status.LastPhaseTransitionTime, old.Status.LastPhaseTransitionTime
	switch changed := v.Status.Phase != old.Status.Phase; {
	case !changed && at == nil:
		v.Status.LastPhaseTransitionTime = was
	case changed && (at == nil || at.Equal(was)):
		v.Status.LastPhaseTransitionTime = &metav1.Time{Time: req.Now}
	}
}

func warnPersistentVolume(_ *kinds.Request, v, _ *corev1.PersistentVolume) []string {
	var out []string
	for _, a := range []struct{ name, text string }{
		{corev1.BetaStorageClassAnnotation, `deprecated since v1.8; use "storageClassName" attribute instead`},
		{corev1.MountOptionAnnotation, `deprecated since v1.31; use "mountOptions" attribute instead`},
	} {
		if _, ok := v.Annotations[a.name]; ok {
			out = append(out, fmt.Sprintf("metadata.annotations[%s]: %s", a.name, a.text))
		}
	}
	spec := &v.Spec
	if spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		out = append(out, "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if spec.NodeAffinity != nil && spec.NodeAffinity.Required != nil {
		for i := range spec.NodeAffinity.Required.NodeSelectorTerms {
			at := field.NewPath("spec", "nodeAffinity", "required", "nodeSelectorTerms").Index(i)
			out = append(out, podspec.NodeTermWarnings(&spec.NodeAffinity.Required.NodeSelectorTerms[i], false, at)...)
		}
	}
	for _, s := range []struct {
		present bool
		text    string
	}{
		{spec.CephFS != nil, "spec.cephfs: deprecated in v1.28, non-functional in v1.31+"},
		{spec.PhotonPersistentDisk != nil, "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+"},
		{spec.ScaleIO != nil, "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+"},
		{spec.StorageOS != nil, "spec.storageOS: deprecated in v1.22, non-functional in v1.25+"},
		{spec.Glusterfs != nil, "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"},
		{spec.RBD != nil, "spec.rbd: deprecated in v1.28, non-functional in v1.31+"},
	} {
		if s.present {
			out = append(out, s.text)
		}
	}
	return out
}
