package core

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/shape"
)

func preparePersistentVolumeClaim(_ *kinds.Request, c *corev1.PersistentVolumeClaim) {
	prepareSources(&c.Spec, nil)
}

func preparePersistentVolumeClaimUpdate(_ *kinds.Request, c, old *corev1.PersistentVolumeClaim) {
	prepareSources(&c.Spec, &old.Spec)
}

// prepareSources makes the two fields for what a volume is filled from agree. The older ignores what it does not know;
// neither may name another namespace.
func prepareSources(spec, old *corev1.PersistentVolumeClaimSpec) {
	if ref := spec.DataSourceRef; ref != nil && ref.Namespace != nil && *ref.Namespace != "" && (old == nil || old.DataSourceRef == nil) {
		spec.DataSourceRef = nil
	}
	if (old == nil || old.DataSource == nil) && spec.DataSourceRef == nil && !knownSource(spec.DataSource) {
		spec.DataSource = nil
	}
	sameSources(spec)
}

func knownSource(s *corev1.TypedLocalObjectReference) bool {
	if s == nil {
		return false
	}
	group := ""
	if s.APIGroup != nil {
		group = *s.APIGroup
	}
	return s.Kind == "PersistentVolumeClaim" && group == "" || s.Kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io"
}

// sameSources copies the one field into the other.
func sameSources(spec *corev1.PersistentVolumeClaimSpec) {
	s, ref := spec.DataSource, spec.DataSourceRef
	switch {
	case s != nil && ref == nil:
		s = s.DeepCopy()
		spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: s.APIGroup, Kind: s.Kind, Name: s.Name}
	case s == nil && ref != nil && (ref.Namespace == nil || *ref.Namespace == ""):
		ref = ref.DeepCopy()
		spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

var claimSpec = field.NewPath("spec")

func validatePersistentVolumeClaim(_ *kinds.Request, c *corev1.PersistentVolumeClaim) field.ErrorList {
	return podspec.ValidateClaimSpec(&c.Spec, claimSpec, podspec.ClaimOptions{})
}

func validatePersistentVolumeClaimUpdate(_ *kinds.Request, c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	l := check.List{ErrorList: kinds.ValidateMeta(c, kinds.Namespaced, kinds.Subdomain)}
	grouped := old.Spec.DataSource != nil && old.Spec.DataSource.APIGroup != nil || old.Spec.DataSourceRef != nil && old.Spec.DataSourceRef.APIGroup != nil
	l.All(podspec.ValidateClaimSpec(&c.Spec, claimSpec, podspec.ClaimOptions{AnySourceGroup: grouped}))

	classAnnotation, classWas := c.Annotations[corev1.BetaStorageClassAnnotation], old.Annotations[corev1.BetaStorageClassAnnotation]
	was, is := allowedChanges(c, old)
	if !classMoved(c, old) && classAnnotation != classWas {
		l.Add(field.Invalid(field.NewPath("metadata", "annotations", corev1.BetaStorageClassAnnotation), classAnnotation, "field is immutable"))
	}
	if !apiequality.Semantic.DeepEqual(is, was) {
		l.Add(field.Forbidden(claimSpec, "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"+shape.Diff(*was, *is)))
	}
	size, sizeWas, have := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage], old.Status.Capacity[corev1.ResourceStorage]
	if size.Cmp(sizeWas) < 0 && size.Cmp(have) <= 0 {
		l.Add(field.Forbidden(claimSpec.Child("resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	l.Immutable(field.NewPath("volumeMode"), c.Spec.VolumeMode, old.Spec.VolumeMode)
	class := c.Spec.VolumeAttributesClassName
	if !apiequality.Semantic.DeepEqual(class, old.Spec.VolumeAttributesClassName) && old.Status.CurrentVolumeAttributesClassName != nil {
		p := claimSpec.Child("volumeAttributesClassName")
		if class == nil {
			l.Add(field.Forbidden(p, "update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"))
		} else if *class == "" {
			l.Add(field.Forbidden(p, "update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"))
		}
	}
	return l.ErrorList
}

// classMoved says whether the update moves the name of the class from the old annotation to the field.
func classMoved(c, old *corev1.PersistentVolumeClaim) bool {
	was, had := old.Annotations[corev1.BetaStorageClassAnnotation]
	now, has := c.Annotations[corev1.BetaStorageClassAnnotation]
	name := c.Spec.StorageClassName
	return had && old.Spec.StorageClassName == nil && name != nil && *name == was && (!has || now == was)
}

// classGiven says whether the update names a class for a claim that had none.
func classGiven(c, old *corev1.PersistentVolumeClaim) bool {
	was, had := old.Annotations[corev1.BetaStorageClassAnnotation]
	name := c.Spec.StorageClassName
	return name != nil && old.Spec.StorageClassName == nil && (!had || *name == was)
}

// allowedChanges are both specs without the changes that an update may make.
func allowedChanges(c, old *corev1.PersistentVolumeClaim) (was, is *corev1.PersistentVolumeClaimSpec) {
	was, is = old.Spec.DeepCopy(), c.Spec.DeepCopy()
	sameSources(was)
	if was.VolumeName == "" {
		was.VolumeName = is.VolumeName
	}
	if classMoved(c, old) {
		is.StorageClassName = nil
	} else if classGiven(c, old) {
		is.StorageClassName = was.StorageClassName
	}
	if c.Status.Phase == corev1.ClaimBound {
		if is.Resources.Requests != nil {
			is.Resources.Requests[corev1.ResourceStorage] = old.Spec.Resources.Requests[corev1.ResourceStorage]
		}
		is.VolumeAttributesClassName = was.VolumeAttributesClassName
	}
	return was, is
}

// dropHealth: the health of volumes is not reported yet.
func dropHealth(_ *kinds.Request, c, old *corev1.PersistentVolumeClaim) {
	if old.Status.HealthStatus == nil {
		c.Status.HealthStatus = nil
	}
}

var resizeStates = []corev1.ClaimResourceStatus{corev1.PersistentVolumeClaimControllerResizeInfeasible, corev1.PersistentVolumeClaimControllerResizeInProgress,
	corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizePending}

func validatePersistentVolumeClaimStatus(_ *kinds.Request, c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
	var l check.List
	l.Require(field.NewPath("resourceVersion"), c.ResourceVersion)
	if len(c.Spec.AccessModes) == 0 {
		l.Add(field.Required(field.NewPath("Spec", "accessModes"), ""))
	}
	status := field.NewPath("status")
	for _, name := range slices.Sorted(maps.Keys(c.Status.Capacity)) {
		q := c.Status.Capacity[name]
		basicQuantity(&l, name, q.Value(), status.Child("capacity"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Status.AllocatedResourceStatuses)) {
		at := status.Child("allocatedResourceStatuses")
		claimResource(&l, name, at)
		if !slices.Contains(resizeStates, c.Status.AllocatedResourceStatuses[name]) {
			l.Add(field.NotSupported(at, name, resizeStates))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Status.AllocatedResources)) {
		at, q := status.Child("allocatedResources"), c.Status.AllocatedResources[name]
		if !claimResource(&l, name, at) {
			continue
		}
		if q.Value() < 0 {
			basicQuantity(&l, name, q.Value(), at)
			continue
		}
		podspec.Quantity(&l, corev1.ResourceStorage, q, at.Key(string(name)))
	}
	return l.ErrorList
}

// claimResource says whether a claim can be of a resource: of storage, or one with a domain.
func claimResource(l *check.List, name corev1.ResourceName, at *field.Path) bool {
	if m := validation.IsQualifiedName(string(name)); len(m) > 0 {
		l.Messages(at, string(name), m)
		return false
	}
	if domain, _, ok := strings.Cut(string(name), "/"); (!ok || strings.Contains(domain, "kubernetes.io")) && name != corev1.ResourceStorage {
		l.Add(field.NotSupported(at, string(name), []corev1.ResourceName{corev1.ResourceStorage}))
		return false
	}
	return true
}

func warnPersistentVolumeClaim(_ *kinds.Request, c, _ *corev1.PersistentVolumeClaim) []string {
	var out []string
	if _, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		out = append(out, `metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`)
	}
	return append(out, podspec.ClaimWarnings(&c.Spec, claimSpec)...)
}
