package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// ClaimOptions say what an existing claim may keep.
type ClaimOptions struct {
	// AnySourceGroup forgives API groups of data sources that are not names of domains.
	AnySourceGroup bool
}

// ValidateClaimSpec checks a claim, on its own or in a template.
func ValidateClaimSpec(spec *corev1.PersistentVolumeClaimSpec, at *field.Path, o ClaimOptions) field.ErrorList {
	var l check.List
	if len(spec.AccessModes) == 0 {
		l.Add(field.Required(at.Child("accessModes"), "at least 1 access mode is required"))
	}
	if spec.Selector != nil {
		l.Selector(at.Child("selector"), spec.Selector)
	}
	AccessModes(&l, spec.AccessModes, at.Child("accessModes"))
	storage := at.Child("resources").Key(string(corev1.ResourceStorage))
	if q, ok := spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		l.Add(field.Required(storage, ""))
	} else if q.Sign() <= 0 {
		l.Add(field.Invalid(storage, q.String(), "must be greater than zero"))
	} else {
		Quantity(&l, corev1.ResourceStorage, q, storage)
	}
	if n := spec.StorageClassName; n != nil && *n != "" {
		l.Name(at.Child("storageClassName"), *n, apivalidation.NameIsDNSSubdomain)
	}
	if m := spec.VolumeMode; m != nil {
		check.OneOf(&l, at.Child("volumeMode"), *m, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
	if s := spec.DataSource; s != nil {
		dataSource(&l, s.APIGroup, s.Kind, s.Name, at.Child("dataSource"), o)
	}
	ref := spec.DataSourceRef
	if ref != nil {
		dataSource(&l, ref.APIGroup, ref.Kind, ref.Name, at.Child("dataSourceRef"), o)
		if ref.Namespace != nil && *ref.Namespace != "" {
			l.Name(at.Child("dataSourceRef", "namespace"), *ref.Namespace, apivalidation.ValidateNamespaceName)
		}
	}
	if s := spec.DataSource; s != nil && ref != nil {
		if ref.Namespace != nil && *ref.Namespace != "" {
			l.Add(field.Invalid(at, at.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified"))
		} else if !samePointer(s.APIGroup, ref.APIGroup) || s.Kind != ref.Kind || s.Name != ref.Name {
			l.Add(field.Invalid(at, at.Child("dataSource"), "must match dataSourceRef"))
		}
	}
	if n := spec.VolumeAttributesClassName; n != nil && *n != "" {
		l.Name(at.Child("volumeAttributesClassName"), *n, apivalidation.NameIsDNSSubdomain)
	}
	return l.ErrorList
}

func samePointer[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func dataSource(l *check.List, group *string, kind, name string, at *field.Path, o ClaimOptions) {
	l.Require(at.Child("name"), name)
	l.Require(at.Child("kind"), kind)
	if group == nil || *group == "" {
		if kind != "PersistentVolumeClaim" {
			l.Add(field.Invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
		return
	}
	if !o.AnySourceGroup {
		l.Rule(at.Child("apiGroup"), *group, validation.IsDNS1123Subdomain)
	}
}

// AccessModes checks modes of a claim or volume; one that allows a single pod allows nothing else.
func AccessModes(l *check.List, modes []corev1.PersistentVolumeAccessMode, at *field.Path) {
	single, other := false, false
	for _, m := range modes {
		switch m {
		case corev1.ReadWriteOncePod:
			single = true
		case corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce:
			other = true
		default:
			check.OneOf(l, at, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		}
	}
	if single && other {
		l.Add(field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
}
