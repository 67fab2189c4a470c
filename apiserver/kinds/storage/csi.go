package storage

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// CSIDriver says what a volume driver needs of the cluster.
var CSIDriver = kinds.Define(kinds.Row[*storagev1.CSIDriver]{
	Resource: "csidrivers", ReturnDeleted: true, NoUnconditionalUpdate: true,
	// The first version has no number; what follows is counted.
	Generation: kinds.GenerationOwn,
	PrepareUpdate: func(_ *kinds.Request, d, old *storagev1.CSIDriver) {
		if !apiequality.Semantic.DeepEqual(d.Spec, old.Spec) {
			d.Generation = old.Generation + 1
		}
	},
	Default: defaultCSIDriver, Validate: validateCSIDriver, ValidateUpdate: validateCSIDriverUpdate, Warnings: csiDriverWarnings,
	Columns: csiDriverColumns(),
})

func csiDriverColumns() []kinds.Column[*storagev1.CSIDriver] {
	doc := storagev1.CSIDriverSpec{}
	truth := func(name, field string, value func(*storagev1.CSIDriverSpec) *bool) kinds.Column[*storagev1.CSIDriver] {
		return kinds.Column[*storagev1.CSIDriver]{Name: name, Type: "boolean", Description: kinds.Doc(doc, field),
			Cell: func(d *storagev1.CSIDriver) any { return show.Bool(value(&d.Spec)) }}
	}
	attach := truth("AttachRequired", "attachRequired", nil)
	attach.Cell = func(d *storagev1.CSIDriver) any { return d.Spec.AttachRequired == nil || *d.Spec.AttachRequired }
	return []kinds.Column[*storagev1.CSIDriver]{
		kinds.NameColumn[*storagev1.CSIDriver](),
		attach,
		truth("PodInfoOnMount", "podInfoOnMount", func(s *storagev1.CSIDriverSpec) *bool { return s.PodInfoOnMount }),
		truth("StorageCapacity", "storageCapacity", func(s *storagev1.CSIDriverSpec) *bool { return s.StorageCapacity }),
		{Name: "TokenRequests", Description: kinds.Doc(doc, "tokenRequests"), Cell: func(d *storagev1.CSIDriver) any {
			if len(d.Spec.TokenRequests) == 0 {
				return "<unset>"
			}
			var audiences []string
			for _, t := range d.Spec.TokenRequests {
				audiences = append(audiences, t.Audience)
			}
			return strings.Join(audiences, ",")
		}},
		truth("RequiresRepublish", "requiresRepublish", func(s *storagev1.CSIDriverSpec) *bool { return s.RequiresRepublish }),
		{Name: "Modes", Description: kinds.Doc(doc, "volumeLifecycleModes"), Cell: func(d *storagev1.CSIDriver) any {
			var modes []string
			for _, m := range d.Spec.VolumeLifecycleModes {
				modes = append(modes, string(m))
			}
			if len(modes) == 0 {
				return "<none>"
			}
			return strings.Join(modes, ",")
		}},
		kinds.AgeColumn[*storagev1.CSIDriver](),
	}
}

// CSINode lists the drivers of a node.
var CSINode = kinds.Define(kinds.Row[*storagev1.CSINode]{
	Resource: "csinodes", ReturnDeleted: true, StatusResets: []string{"spec", "metadata"}, StatusResetsMeta: true, Generation: kinds.GenerationNever,
	NoUnconditionalUpdate: true, Validate: validateCSINode, ValidateUpdate: validateCSINodeUpdate, Revalidate: true, ValidateStatus: validateCSINodeStatus,
	Columns: []kinds.Column[*storagev1.CSINode]{
		kinds.NameColumn[*storagev1.CSINode](),
		{Name: "Drivers", Type: "integer", Description: "Drivers indicates the number of CSI drivers registered on the node",
			Cell: func(n *storagev1.CSINode) any { return int64(len(n.Spec.Drivers)) }},
		kinds.AgeColumn[*storagev1.CSINode](),
	},
})

// CSIStorageCapacity says how much room a class has in a part of the cluster.
var CSIStorageCapacity = kinds.Define(kinds.Row[*storagev1.CSIStorageCapacity]{
	Resource: "csistoragecapacities", Scope: kinds.Namespaced, Generation: kinds.GenerationNever,
	NoUnconditionalUpdate: true, Validate: validateCapacity, ValidateUpdate: validateCapacityUpdate, Warnings: capacityWarnings,
	Columns: kinds.PlainColumns[*storagev1.CSIStorageCapacity](),
})

// VolumeAttachment asks for a volume to be attached to a node.
var VolumeAttachment = kinds.Define(kinds.Row[*storagev1.VolumeAttachment]{
	Resource: "volumeattachments", ReturnDeleted: true, StatusResets: []string{"spec", "metadata"}, StatusResetsMeta: true, Generation: kinds.GenerationNever,
	NoUnconditionalUpdate: true, Validate: validateAttachment, ValidateUpdate: validateAttachmentUpdate, ValidateStatus: validateAttachmentUpdate,
	Columns: volumeAttachmentColumns(),
})

func volumeAttachmentColumns() []kinds.Column[*storagev1.VolumeAttachment] {
	spec := storagev1.VolumeAttachmentSpec{}
	return []kinds.Column[*storagev1.VolumeAttachment]{
		kinds.NameColumn[*storagev1.VolumeAttachment](),
		{Name: "Attacher", Format: "name", Description: kinds.Doc(spec, "attacher"), Cell: func(a *storagev1.VolumeAttachment) any { return a.Spec.Attacher }},
		{Name: "PV", Description: kinds.Doc(storagev1.VolumeAttachmentSource{}, "persistentVolumeName"),
			Cell: func(a *storagev1.VolumeAttachment) any { return show.Text(a.Spec.Source.PersistentVolumeName, "") }},
		{Name: "Node", Description: kinds.Doc(spec, "nodeName"), Cell: func(a *storagev1.VolumeAttachment) any { return a.Spec.NodeName }},
		{Name: "Attached", Type: "boolean", Description: kinds.Doc(storagev1.VolumeAttachmentStatus{}, "attached"),
			Cell: func(a *storagev1.VolumeAttachment) any { return a.Status.Attached }},
		kinds.AgeColumn[*storagev1.VolumeAttachment](),
	}
}
