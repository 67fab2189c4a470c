package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// StorageClass names a way to make volumes.
var StorageClass = kinds.Define(kinds.Row[*storagev1.StorageClass]{
	Resource: "storageclasses", ReturnDeleted: true, ShortNames: []string{"sc"}, Generation: kinds.GenerationNever,
	Default: defaultStorageClass, Validate: validateStorageClass, ValidateUpdate: validateStorageClassUpdate, Revalidate: true, Warnings: storageClassWarnings,
	Columns: storageClassColumns(),
})

func storageClassColumns() []kinds.Column[*storagev1.StorageClass] {
	doc := storagev1.StorageClass{}
	// kubectl and people look for the default class by its name's suffix.
	name := kinds.NameColumn[*storagev1.StorageClass]()
	name.Cell = func(c *storagev1.StorageClass) any {
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
			c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
			return c.Name + " (default)"
		}
		return c.Name
	}
	return []kinds.Column[*storagev1.StorageClass]{
		name,
		{Name: "Provisioner", Description: kinds.Doc(doc, "provisioner"), Cell: func(c *storagev1.StorageClass) any { return c.Provisioner }},
		{Name: "ReclaimPolicy", Description: kinds.Doc(doc, "reclaimPolicy"), Cell: func(c *storagev1.StorageClass) any { return show.Text(c.ReclaimPolicy, "Delete") }},
		{Name: "VolumeBindingMode", Description: kinds.Doc(doc, "volumeBindingMode"), Cell: func(c *storagev1.StorageClass) any { return show.Text(c.VolumeBindingMode, "Immediate") }},
		{Name: "AllowVolumeExpansion", Description: kinds.Doc(doc, "allowVolumeExpansion"), Cell: func(c *storagev1.StorageClass) any { return show.Bool(c.AllowVolumeExpansion) }},
		kinds.AgeColumn[*storagev1.StorageClass](),
	}
}

// VolumeAttributesClass names attributes that a volume may be given while it is in use.
var VolumeAttributesClass = kinds.Define(kinds.Row[*storagev1.VolumeAttributesClass]{
	Resource: "volumeattributesclasses", ReturnDeleted: true, ShortNames: []string{"vac"}, Generation: kinds.GenerationNever,
	Validate: validateAttributesClass, ValidateUpdate: validateAttributesClassUpdate, Revalidate: true,
	Columns: volumeAttributesClassColumns(),
})

func volumeAttributesClassColumns() []kinds.Column[*storagev1.VolumeAttributesClass] {
	name := kinds.NameColumn[*storagev1.VolumeAttributesClass]()
	name.Cell = func(c *storagev1.VolumeAttributesClass) any {
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
			return c.Name + " (default)"
		}
		return c.Name
	}
	return []kinds.Column[*storagev1.VolumeAttributesClass]{
		name,
		{Name: "DriverName", Description: kinds.Doc(storagev1.VolumeAttributesClass{}, "driverName"), Cell: func(c *storagev1.VolumeAttributesClass) any { return c.DriverName }},
		kinds.AgeColumn[*storagev1.VolumeAttributesClass](),
	}
}
