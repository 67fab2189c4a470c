package podspec

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

func (c *specCheck) allVolumes() {
	c.volumes = map[string]*corev1.VolumeSource{}
	// Claims made for ephemeral volumes are named after the pod; nothing else of the pod may name them.
	made := sets.New[string]()
	if c.pod != nil && c.pod.Name != "" {
		for i := range c.spec.Volumes {
			if v := &c.spec.Volumes[i]; v.Ephemeral != nil {
				made.Insert(c.pod.Name + "-" + v.Name)
			}
		}
	}
	for i := range c.spec.Volumes {
		v, at := &c.spec.Volumes[i], index(child(c.at, "volumes"), i)
		faults := len(c.ErrorList)
		c.volume(v, at)
		if c.Require(child(at, "name"), v.Name) {
			c.Label(child(at, "name"), v.Name)
		}
		if _, taken := c.volumes[v.Name]; taken {
			c.Add(field.Duplicate(at.Child("name"), v.Name))
		}
		if len(c.ErrorList) == faults {
			c.volumes[v.Name] = &v.VolumeSource
		}
		if p := v.PersistentVolumeClaim; p != nil && made.Has(p.ClaimName) {
			c.Add(field.Invalid(at.Child("persistentVolumeClaim").Child("claimName"), p.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume"))
		}
	}
}

// source is one kind of volume: the name of its field, its name in errors where upstream's differ, and its check.
type source struct {
	set        bool
	name       string // of the field
	twice, own string // in "more than one", in its own errors; default: name
	look       func(at *field.Path)
}

// volume: exactly one source, the first of which counts.
func (c *specCheck) volume(v *corev1.Volume, at *field.Path) {
	s := &v.VolumeSource
	if s.Projected != nil && *s == (corev1.VolumeSource{Projected: s.Projected}) {
		// Nearly every pod has one, with its token in it: it need not be looked for among thirty.
		c.projected(s.Projected, child(at, "projected"))
		return
	}
	found := false
	for _, k := range c.sources(v, at) {
		if !k.set {
			continue
		}
		twice, own := k.name, k.name
		if k.twice != "" {
			twice = k.twice
		}
		if k.own != "" {
			own = k.own
		}
		if found {
			c.Add(field.Forbidden(at.Child(twice), "may not specify more than 1 volume type"))
			continue
		}
		found = true
		if k.look != nil {
			k.look(child(at, own))
		}
	}
	if i := s.ISCSI; i != nil && i.InitiatorName != nil && len(v.Name+":"+i.TargetPortal) > 64 {
		c.Add(field.Invalid(at.Child("name"), v.Name, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."))
	}
	if !found {
		c.Add(field.Required(at, "must specify a volume type"))
	}
}

func (c *specCheck) sources(v *corev1.Volume, at *field.Path) []source {
	s, l := &v.VolumeSource, &c.List
	needs := func(name string, value func() string) func(*field.Path) {
		return func(at *field.Path) { c.Require(child(at, name), value()) }
	}
	return []source{
		{set: s.EmptyDir != nil, name: "emptyDir", look: func(at *field.Path) { c.emptyDir(s.EmptyDir, at) }},
		{set: s.HostPath != nil, name: "hostPath", look: func(at *field.Path) { HostPath(l, s.HostPath, at) }},
		{set: s.GitRepo != nil, name: "gitRepo", look: func(at *field.Path) {
			c.Require(child(at, "repository"), s.GitRepo.Repository)
			c.Descending(child(at, "directory"), s.GitRepo.Directory)
		}},
		{set: s.GCEPersistentDisk != nil, name: "gcePersistentDisk", own: "persistentDisk", look: func(at *field.Path) { GCEDisk(l, s.GCEPersistentDisk, at) }},
		{set: s.AWSElasticBlockStore != nil, name: "awsElasticBlockStore", look: func(at *field.Path) { AWSDisk(l, s.AWSElasticBlockStore, at) }},
		{set: s.Secret != nil, name: "secret", look: func(at *field.Path) {
			c.Require(child(at, "secretName"), s.Secret.SecretName)
			c.files(s.Secret.DefaultMode, s.Secret.DefaultUser, s.Secret.Items, at)
		}},
		{set: s.NFS != nil, name: "nfs", look: func(at *field.Path) { NFS(l, s.NFS, at) }},
		{set: s.ISCSI != nil, name: "iscsi", look: func(at *field.Path) {
			i := s.ISCSI
			ISCSI(l, iscsi{i.TargetPortal, i.IQN, i.Lun, i.DiscoveryCHAPAuth || i.SessionCHAPAuth, i.SecretRef != nil, i.InitiatorName}, at, true)
		}},
		{set: s.Glusterfs != nil, name: "glusterfs", look: func(at *field.Path) {
			c.Require(child(at, "endpoints"), s.Glusterfs.EndpointsName)
			c.Require(child(at, "path"), s.Glusterfs.Path)
		}},
		{set: s.Flocker != nil, name: "flocker", look: func(at *field.Path) { Flocker(l, s.Flocker, at) }},
		{set: s.PersistentVolumeClaim != nil, name: "persistentVolumeClaim", look: needs("claimName", func() string { return s.PersistentVolumeClaim.ClaimName })},
		{set: s.RBD != nil, name: "rbd", look: func(at *field.Path) { RBD(l, s.RBD.CephMonitors, s.RBD.RBDImage, at) }},
		{set: s.Cinder != nil, name: "cinder", look: func(at *field.Path) {
			c.Require(child(at, "volumeID"), s.Cinder.VolumeID)
			if s.Cinder.SecretRef != nil {
				c.Require(child(at, "secretRef", "name"), s.Cinder.SecretRef.Name)
			}
		}},
		{set: s.CephFS != nil, name: "cephFS", own: "cephfs", look: func(at *field.Path) { c.monitors(s.CephFS.Monitors, at) }},
		{set: s.Quobyte != nil, name: "quobyte", look: func(at *field.Path) { Quobyte(l, s.Quobyte, at) }},
		{set: s.DownwardAPI != nil, name: "downwardAPI", twice: "downwarAPI", look: func(at *field.Path) {
			c.FileMode(child(at, "defaultMode"), s.DownwardAPI.DefaultMode)
			c.fileUser(child(at, "defaultUser"), s.DownwardAPI.DefaultUser)
			for i := range s.DownwardAPI.Items {
				c.downwardFile(&s.DownwardAPI.Items[i], at)
			}
		}},
		{set: s.FC != nil, name: "fc", look: func(at *field.Path) { FC(l, s.FC, at) }},
		{set: s.FlexVolume != nil, name: "flexVolume", look: func(at *field.Path) { Flex(l, s.FlexVolume.Driver, s.FlexVolume.Options, at) }},
		{set: s.ConfigMap != nil, name: "configMap", look: func(at *field.Path) {
			c.Require(child(at, "name"), s.ConfigMap.Name)
			c.files(s.ConfigMap.DefaultMode, s.ConfigMap.DefaultUser, s.ConfigMap.Items, at)
		}},
		{set: s.AzureFile != nil, name: "azureFile", look: func(at *field.Path) {
			c.Require(child(at, "secretName"), s.AzureFile.SecretName)
			c.Require(child(at, "shareName"), s.AzureFile.ShareName)
		}},
		{set: s.VsphereVolume != nil, name: "vsphereVolume", look: needs("volumePath", func() string { return s.VsphereVolume.VolumePath })},
		{set: s.PhotonPersistentDisk != nil, name: "photonPersistentDisk", look: needs("pdID", func() string { return s.PhotonPersistentDisk.PdID })},
		{set: s.PortworxVolume != nil, name: "portworxVolume", look: needs("volumeID", func() string { return s.PortworxVolume.VolumeID })},
		{set: s.AzureDisk != nil, name: "azureDisk", look: func(at *field.Path) { AzureDisk(l, s.AzureDisk, at) }},
		{set: s.StorageOS != nil, name: "storageos", look: func(at *field.Path) {
			StorageOS(l, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at)
			if s.StorageOS.SecretRef != nil {
				c.Require(child(at, "secretRef", "name"), s.StorageOS.SecretRef.Name)
			}
		}},
		{set: s.Projected != nil, name: "projected", look: func(at *field.Path) { c.projected(s.Projected, at) }},
		{set: s.ScaleIO != nil, name: "scaleIO", look: func(at *field.Path) { ScaleIO(l, s.ScaleIO.Gateway, s.ScaleIO.System, s.ScaleIO.VolumeName, at) }},
		{set: s.CSI != nil, name: "csi", look: func(at *field.Path) { c.csi(s.CSI, at) }},
		{set: s.Ephemeral != nil, name: "ephemeral", look: func(own *field.Path) { c.ephemeral(s.Ephemeral, v.Name, at, own) }},
		{set: s.Image != nil, name: "image", look: func(at *field.Path) {
			if !c.emptyImageVolume {
				c.Require(child(at, "reference"), s.Image.Reference)
			}
			c.pullPolicy(s.Image.PullPolicy, child(at, "pullPolicy"))
		}},
	}
}

func (c *specCheck) emptyDir(e *corev1.EmptyDirVolumeSource, at *field.Path) {
	if e.SizeLimit != nil && e.SizeLimit.Sign() < 0 {
		c.Add(field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
	}
	if e.Mode != nil && (*e.Mode < 0 || *e.Mode > 0o1777) {
		c.Add(field.Invalid(at.Child("mode"), *e.Mode, "must be a number between 0 and 01777 (octal), both inclusive"))
	}
}

func (c *specCheck) monitors(monitors []string, at *field.Path) {
	if len(monitors) == 0 {
		c.Add(field.Required(at.Child("monitors"), ""))
	}
}

// files checks the files of a secret or config map in a volume.
func (c *specCheck) files(mode *int32, user *int64, items []corev1.KeyToPath, at *field.Path) {
	c.FileMode(child(at, "defaultMode"), mode)
	c.fileUser(child(at, "defaultUser"), user)
	for i := range items {
		c.keyToPath(&items[i], index(child(at, "items"), i))
	}
}

func (c *specCheck) fileUser(at *field.Path, user *int64) {
	if user != nil {
		c.Messages(at, *user, validation.IsValidUserID(*user))
	}
}

func (c *specCheck) keyToPath(k *corev1.KeyToPath, at *field.Path) {
	c.Require(child(at, "key"), k.Key)
	c.Require(child(at, "path"), k.Path)
	c.FilePath(child(at, "path"), k.Path)
	c.FileMode(child(at, "mode"), k.Mode)
	c.fileUser(child(at, "user"), k.User)
}

func (c *specCheck) downwardFile(f *corev1.DownwardAPIVolumeFile, at *field.Path) {
	c.Require(child(at, "path"), f.Path)
	c.FilePath(child(at, "path"), f.Path)
	switch {
	case f.FieldRef != nil:
		c.fieldRef(f.FieldRef, fileFields, child(at, "fieldRef"))
		if f.ResourceFieldRef != nil {
			c.Add(field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		}
	case f.ResourceFieldRef != nil:
		c.resourceFieldRef(f.ResourceFieldRef, child(at, "resourceFieldRef"), true)
	default:
		c.Add(field.Required(at, "one of fieldRef and resourceFieldRef is required"))
	}
	c.FileMode(child(at, "mode"), f.Mode)
	c.fileUser(child(at, "user"), f.User)
}

func (c *specCheck) csi(s *corev1.CSIVolumeSource, at *field.Path) {
	CSIDriverName(&c.List, s.Driver, child(at, "driver"))
	if s.NodePublishSecretRef == nil {
		return
	}
	if name := s.NodePublishSecretRef.Name; c.Require(child(at, "nodePublishSecretRef", "name"), name) {
		c.Name(child(at, "name"), name, apivalidation.NameIsDNSSubdomain)
	}
}

func (c *specCheck) ephemeral(e *corev1.EphemeralVolumeSource, name string, volume, at *field.Path) {
	if t := e.VolumeClaimTemplate; t == nil {
		c.Add(field.Required(at.Child("volumeClaimTemplate"), ""))
	} else {
		p := child(at, "volumeClaimTemplate")
		templateMeta(&c.List, t, child(p, "metadata"))
		c.All(ValidateClaimSpec(&t.Spec, child(p, "spec"), ClaimOptions{}))
	}
	if c.pod == nil || c.pod.Name == "" || name == "" {
		return
	}
	claim := c.pod.Name + "-" + name
	for _, m := range apivalidation.NameIsDNSSubdomain(claim, false) {
		c.Add(field.Invalid(volume.Child("name"), name, fmt.Sprintf("PVC name %q: %v", claim, m)))
	}
}

// mounts checks where a container sees volumes.
func (c *specCheck) mounts(ctr *corev1.Container, at *field.Path) {
	paths := sets.New[string]()
	for i := range ctr.VolumeMounts {
		m, p := &ctr.VolumeMounts[i], index(at, i)
		c.Require(child(p, "name"), m.Name)
		if _, ok := c.volumes[m.Name]; !ok {
			c.Add(field.NotFound(p.Child("name"), m.Name))
		}
		c.Require(child(p, "mountPath"), m.MountPath)
		if paths.Has(m.MountPath) {
			c.Add(field.Invalid(p.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		for _, d := range ctr.VolumeDevices {
			if d.Name == m.Name {
				c.Add(field.Invalid(p.Child("name"), m.Name, "must not already exist in volumeDevices"))
				break
			}
		}
		for _, d := range ctr.VolumeDevices {
			if d.DevicePath == m.MountPath {
				c.Add(field.Invalid(p.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
				break
			}
		}
		if m.SubPath != "" {
			c.Descending(child(at, "subPath"), m.SubPath)
		}
		if m.SubPathExpr != "" {
			if m.SubPath != "" {
				c.Add(field.Invalid(p.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
			}
			c.Descending(child(at, "subPathExpr"), m.SubPathExpr)
		}
		c.propagation(m, ctr, at)
		c.mountOptions(m, child(p, "bindMountOptions"))
	}
}

func (c *specCheck) propagation(m *corev1.VolumeMount, ctr *corev1.Container, at *field.Path) {
	if m.MountPropagation != nil {
		p := child(at, "mountPropagation")
		check.OneOf(&c.List, p, *m.MountPropagation, corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)
		privileged := ctr.SecurityContext != nil && ctr.SecurityContext.Privileged != nil && *ctr.SecurityContext.Privileged
		if *m.MountPropagation == corev1.MountPropagationBidirectional && !privileged {
			c.Add(field.Forbidden(p, "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	if m.RecursiveReadOnly == nil {
		return
	}
	p := child(at, "recursiveReadOnly")
	switch *m.RecursiveReadOnly {
	case corev1.RecursiveReadOnlyDisabled:
	case corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible:
		if !m.ReadOnly {
			c.Add(field.Forbidden(p, "may only be specified when readOnly is true"))
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			c.Add(field.Forbidden(p, "may only be specified when mountPropagation is None or not specified"))
		}
	default:
		c.Add(field.NotSupported(p, *m.RecursiveReadOnly, []corev1.RecursiveReadOnlyMode{
			corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible}))
	}
}

func (c *specCheck) mountOptions(m *corev1.VolumeMount, at *field.Path) {
	for i, o := range m.BindMountOptions {
		check.OneOf(&c.List, index(at, i), o, "nodev", "noexec", "nosuid")
		if slices.Contains(m.BindMountOptions[:i], o) {
			c.Add(field.Duplicate(at.Index(i), o))
		}
	}
	if v := c.volumes[m.Name]; len(m.BindMountOptions) > 0 && v != nil && v.Image != nil {
		c.Add(field.Invalid(at, m.BindMountOptions, "bindMountOptions may not be used with image volumes"))
	}
}

// devices checks which volumes a container sees as block devices.
func (c *specCheck) devices(ctr *corev1.Container, at *field.Path) {
	names, paths := sets.New[string](), sets.New[string]()
	for i, d := range ctr.VolumeDevices {
		p := index(at, i)
		v, known := c.volumes[d.Name]
		c.Require(child(p, "name"), d.Name)
		if names.Has(d.Name) {
			c.Add(field.Invalid(p.Child("name"), d.Name, "must be unique"))
		}
		if !known {
			c.Add(field.NotFound(p.Child("name"), d.Name))
		} else if v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
			c.Add(field.Invalid(p.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		c.Require(child(p, "devicePath"), d.DevicePath)
		if paths.Has(d.DevicePath) {
			c.Add(field.Invalid(p.Child("devicePath"), d.DevicePath, "must be unique"))
		}
		var climbs check.List
		climbs.NoBacksteps(p, d.DevicePath)
		if len(climbs.ErrorList) > 0 {
			c.Add(field.Invalid(p.Child("devicePath"), d.DevicePath, "can not contain backsteps ('..')"))
		} else {
			paths.Insert(d.DevicePath)
		}
		for _, m := range ctr.VolumeMounts {
			if m.Name == d.Name {
				c.Add(field.Invalid(p.Child("name"), d.Name, "must not already exist in volumeMounts"))
				break
			}
		}
		for _, m := range ctr.VolumeMounts {
			if m.MountPath == d.DevicePath {
				c.Add(field.Invalid(p.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts"))
				break
			}
		}
		if d.Name != "" {
			names.Insert(d.Name)
		}
	}
}
