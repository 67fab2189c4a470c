package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var storageClasses = schema.GroupResource{Group: storagev1.GroupName, Resource: "storageclasses"}

const (
	defaultStorageClass     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultStorageClass = "storageclass.beta.kubernetes.io/is-default-class"
	betaStorageClass        = corev1.BetaStorageClassAnnotation
)

// DefaultStorageClass gives claims that name no class the default one: the newest, if there are several.
func DefaultStorageClass(o *Objects) Rule {
	return Rule{Name: "DefaultStorageClass", Mutate: func(ctx context.Context, a *Attributes) error {
		if !a.Is("", "persistentvolumeclaims", "") || a.Operation != Create {
			return nil
		}
		claim := a.Object.(*corev1.PersistentVolumeClaim)
		if _, ok := claim.Annotations[betaStorageClass]; ok || claim.Spec.StorageClassName != nil {
			return nil
		}
		list, err := o.list(ctx, storageClasses, "")
		if err != nil {
			return forbidden(a, "%w", err)
		}
		var found *storagev1.StorageClass
		for _, obj := range list {
			c := obj.(*storagev1.StorageClass)
			isDefault := c.Annotations[defaultStorageClass] == "true" || c.Annotations[betaDefaultStorageClass] == "true"
			if isDefault && (found == nil || newer(&c.ObjectMeta, &found.ObjectMeta)) {
				found = c
			}
		}
		if found != nil {
			name := found.Name
			claim.Spec.StorageClassName = &name
		}
		return nil
	}}
}

// newer orders by age, then by name.
func newer(a, b *metav1.ObjectMeta) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return b.CreationTimestamp.Before(&a.CreationTimestamp)
	}
	return a.Name < b.Name
}

// PersistentVolumeClaimResize lets claims grow where their class allows it.
func PersistentVolumeClaimResize(o *Objects) Rule {
	return Rule{Name: "PersistentVolumeClaimResize", Validate: func(ctx context.Context, a *Attributes) error {
		if !a.Is("", "persistentvolumeclaims", "") || a.Operation != Update {
			return nil
		}
		claim, old := a.Object.(*corev1.PersistentVolumeClaim), a.Old.(*corev1.PersistentVolumeClaim)
		want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
		if want.Cmp(have) <= 0 {
			return nil
		}
		if old.Status.Phase != corev1.ClaimBound {
			return forbidden(a, "Only bound persistent volume claims can be expanded")
		}
		if class := claimClass(claim); class != "" && class == claimClass(old) {
			obj, err := o.get(ctx, storageClasses, "", class)
			if err == nil && obj.(*storagev1.StorageClass).AllowVolumeExpansion != nil && *obj.(*storagev1.StorageClass).AllowVolumeExpansion {
				return nil
			}
		}
		return forbidden(a, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
	}}
}

func claimClass(c *corev1.PersistentVolumeClaim) string {
	if class, ok := c.Annotations[betaStorageClass]; ok {
		return class
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName
	}
	return ""
}

// protected are the finalizers by which storage stays until nobody uses it.
var protected = map[schema.GroupResource]string{
	{Resource: "persistentvolumes"}:                                   "kubernetes.io/pv-protection",
	{Resource: "persistentvolumeclaims"}:                              "kubernetes.io/pvc-protection",
	{Group: storagev1.GroupName, Resource: "volumeattributesclasses"}: "kubernetes.io/vac-protection",
}

// StorageObjectInUseProtection keeps volumes and claims until nobody uses them.
func StorageObjectInUseProtection() Rule {
	return Rule{Name: "StorageObjectInUseProtection", Mutate: func(_ context.Context, a *Attributes) error {
		finalizer := protected[a.Kind.GroupResource()]
		if finalizer == "" || a.Subresource != "" || a.Operation != Create {
			return nil
		}
		if m := a.Object.(metav1.Object); !slices.Contains(m.GetFinalizers(), finalizer) {
			m.SetFinalizers(append(m.GetFinalizers(), finalizer))
		}
		return nil
	}}
}
