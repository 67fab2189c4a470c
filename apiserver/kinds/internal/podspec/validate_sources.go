package podspec

import (
	"net"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// The functions below check sources that pods and persistent volumes share.

// HostPath checks a path of the node.
func HostPath(l *check.List, s *corev1.HostPathVolumeSource, at *field.Path) {
	if !l.Require(child(at, "path"), s.Path) {
		return
	}
	l.NoBacksteps(child(at, "path"), s.Path)
	if s.Type != nil {
		check.OneOf(l, child(at, "type"), *s.Type, corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)
	}
}

// NFS checks a share.
func NFS(l *check.List, s *corev1.NFSVolumeSource, at *field.Path) {
	l.Require(child(at, "server"), s.Server)
	l.Require(child(at, "path"), s.Path)
	if !path.IsAbs(s.Path) {
		l.Add(field.Invalid(at.Child("path"), s.Path, "must be an absolute path"))
	}
}

// GCEDisk checks a disk.
func GCEDisk(l *check.List, s *corev1.GCEPersistentDiskVolumeSource, at *field.Path) {
	l.Require(child(at, "pdName"), s.PDName)
	partition(l, s.Partition, at)
}

// AWSDisk checks a disk.
func AWSDisk(l *check.List, s *corev1.AWSElasticBlockStoreVolumeSource, at *field.Path) {
	l.Require(child(at, "volumeID"), s.VolumeID)
	partition(l, s.Partition, at)
}

func partition(l *check.List, n int32, at *field.Path) {
	if n < 0 || n > 255 {
		l.Add(field.Invalid(at.Child("partition"), n, validation.InclusiveRangeError(1, 255)))
	}
}

// RBD checks an image in Ceph.
func RBD(l *check.List, monitors []string, image string, at *field.Path) {
	if len(monitors) == 0 {
		l.Add(field.Required(at.Child("monitors"), ""))
	}
	l.Require(child(at, "image"), image)
}

// Quobyte checks a volume.
func Quobyte(l *check.List, s *corev1.QuobyteVolumeSource, at *field.Path) {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case s.Registry == "":
		l.Add(field.Required(at.Child("registry"), pairs))
	case len(s.Tenant) >= 65:
		l.Add(field.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
	default:
		for _, pair := range strings.Split(s.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				l.Add(field.Invalid(at.Child("registry"), s.Registry, pairs))
			}
		}
	}
	l.Require(child(at, "volume"), s.Volume)
}

// Flocker checks a dataset.
func Flocker(l *check.List, s *corev1.FlockerVolumeSource, at *field.Path) {
	switch {
	case s.DatasetName == "" && s.DatasetUUID == "":
		l.Add(field.Required(at, "one of datasetName and datasetUUID is required"))
	case s.DatasetName != "" && s.DatasetUUID != "":
		l.Add(field.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
	}
	if strings.Contains(s.DatasetName, "/") {
		l.Add(field.Invalid(at.Child("datasetName"), s.DatasetName, "must not contain '/'"))
	}
}

// FC checks a Fibre Channel volume.
func FC(l *check.List, s *corev1.FCVolumeSource, at *field.Path) {
	if len(s.TargetWWNs) == 0 && len(s.WWIDs) == 0 {
		l.Add(field.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
	}
	if len(s.TargetWWNs) == 0 {
		return
	}
	if len(s.WWIDs) > 0 {
		l.Add(field.Invalid(at.Child("targetWWNs"), s.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	if s.Lun == nil {
		l.Add(field.Required(at.Child("lun"), "lun is required if targetWWNs is specified"))
	} else if *s.Lun < 0 || *s.Lun > 255 {
		l.Add(field.Invalid(at.Child("lun"), s.Lun, validation.InclusiveRangeError(0, 255)))
	}
}

// Flex checks a flex volume; options of Kubernetes itself are reserved.
func Flex(l *check.List, driver string, options map[string]string, at *field.Path) {
	l.Require(child(at, "driver"), driver)
	for key := range options {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			l.Add(field.Invalid(at.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved"))
		}
	}
}

// AzureDisk checks a disk.
func AzureDisk(l *check.List, s *corev1.AzureDiskVolumeSource, at *field.Path) {
	l.Require(child(at, "diskName"), s.DiskName)
	l.Require(child(at, "diskURI"), s.DataDiskURI)
	if s.CachingMode != nil {
		check.OneOf(l, child(at, "cachingMode"), *s.CachingMode, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	}
	if s.Kind == nil {
		return
	}
	check.OneOf(l, child(at, "kind"), *s.Kind, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)
	prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *s.Kind == corev1.AzureManagedDisk {
		prefix, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(s.DataDiskURI, prefix) {
		l.Add(field.NotSupported(at.Child("diskURI"), s.DataDiskURI, []string{form}))
	}
}

// ScaleIO checks a volume.
func ScaleIO(l *check.List, gateway, system, volume string, at *field.Path) {
	l.Require(child(at, "gateway"), gateway)
	l.Require(child(at, "system"), system)
	l.Require(child(at, "volumeName"), volume)
}

// StorageOS checks a volume.
func StorageOS(l *check.List, volume, namespace string, at *field.Path) {
	if l.Require(child(at, "volumeName"), volume) {
		l.Label(child(at, "volumeName"), volume)
	}
	if namespace != "" {
		l.Label(child(at, "volumeNamespace"), namespace)
	}
}

// CSIDriverName checks the name of a driver.
func CSIDriverName(l *check.List, name string, at *field.Path) {
	if !l.Require(at, name) {
		return
	}
	if len(name) > 63 {
		l.Add(field.TooLong(at, "", 63))
	}
	l.Messages(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
}

// iscsi is what pods and persistent volumes say alike about a target.
type iscsi struct {
	portal, iqn string
	lun         int32
	chap, keyed bool
	initiator   *string
}

var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

// ISCSI checks a target. inPod words a name without a known beginning as upstream does for pods.
func ISCSI(l *check.List, s iscsi, at *field.Path, inPod bool) {
	l.Require(child(at, "targetPortal"), s.portal)
	if l.Require(child(at, "iqn"), s.iqn) {
		iscsiName(l, s.iqn, child(at, "iqn"), inPod)
	}
	if s.lun < 0 || s.lun > 255 {
		l.Add(field.Invalid(at.Child("lun"), s.lun, validation.InclusiveRangeError(0, 255)))
	}
	if s.chap && !s.keyed {
		l.Add(field.Required(at.Child("secretRef"), ""))
	}
	if s.initiator != nil {
		iscsiName(l, *s.initiator, child(at, "initiatorname"), inPod)
	}
}

func iscsiName(l *check.List, name string, at *field.Path, inPod bool) {
	form, known := iscsiNames[name[:min(3, len(name))]]
	switch {
	case !known && inPod:
		l.Add(field.Invalid(at, name, "must be valid format starting with iqn, eui, or naa"))
	case !known || !form.MatchString(name):
		l.Add(field.Invalid(at, name, "must be valid format"))
	}
}

// PersistentISCSI is ISCSI for a persistent volume.
func PersistentISCSI(l *check.List, s *corev1.ISCSIPersistentVolumeSource, volume string, at *field.Path) {
	if s.InitiatorName != nil && len(volume+":"+s.TargetPortal) > 64 {
		l.Add(field.Invalid(at.Child("targetportal"), s.TargetPortal, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."))
	}
	ISCSI(l, iscsi{s.TargetPortal, s.IQN, s.Lun, s.DiscoveryCHAPAuth || s.SessionCHAPAuth, s.SecretRef != nil, s.InitiatorName}, at, false)
	if s.SecretRef != nil {
		l.Require(child(at, "secretRef", "name"), s.SecretRef.Name)
	}
}

// templateMeta: a claim template has labels and annotations and nothing else.
func templateMeta(l *check.List, t *corev1.PersistentVolumeClaimTemplate, at *field.Path) {
	m := t.ObjectMeta
	l.All(apivalidation.ValidateAnnotations(m.Annotations, child(at, "annotations")))
	l.Labels(child(at, "labels"), m.Labels)
	for _, f := range []struct {
		name string
		set  bool
	}{{"name", m.Name != ""}, {"generateName", m.GenerateName != ""}, {"namespace", m.Namespace != ""}, {"selfLink", m.SelfLink != ""},
		{"uID", m.UID != ""}, {"resourceVersion", m.ResourceVersion != ""}, {"generation", m.Generation != 0},
		{"creationTimestamp", !m.CreationTimestamp.IsZero()}, {"deletionTimestamp", m.DeletionTimestamp != nil},
		{"deletionGracePeriodSeconds", m.DeletionGracePeriodSeconds != nil}, {"ownerReferences", m.OwnerReferences != nil},
		{"finalizers", m.Finalizers != nil}, {"managedFields", m.ManagedFields != nil}} {
		if f.set {
			l.Add(field.Forbidden(at.Child(f.name), "cannot be set"))
		}
	}
}
