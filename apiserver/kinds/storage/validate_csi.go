package storage

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/core"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// What drivers may ask for.
const (
	shortestToken  = 10 * 60 // seconds
	longestToken   = 1 << 32 // seconds
	shortestPeriod = 10      // seconds
	longestNodeID  = 256
)

func validateCSIDriver(_ *kinds.Request, d *storagev1.CSIDriver) field.ErrorList {
	var l check.List
	spec := &d.Spec
	set := func(value *bool, name string) {
		if value == nil {
			l.Add(field.Required(specPath.Child(name), ""))
		}
	}
	set(spec.AttachRequired, "attachedRequired")
	set(spec.PodInfoOnMount, "podInfoOnMount")
	set(spec.StorageCapacity, "storageCapacity")
	if p := spec.FSGroupPolicy; p != nil {
		check.OneOf(&l, specPath.Child("fsGroupPolicy"), *p, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	tokenRequests(&l, spec.TokenRequests, specPath.Child("tokenRequests"))
	for _, m := range spec.VolumeLifecycleModes {
		check.OneOf(&l, specPath.Child("volumeLifecycleModes"), m, storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral)
	}
	set(spec.SELinuxMount, "seLinuxMount")
	if p := spec.NodeAllocatableUpdatePeriodSeconds; p != nil && *p < shortestPeriod {
		l.Add(field.Invalid(specPath.Child("nodeAllocatableUpdatePeriodSeconds"), *p, "must be greater than or equal to 10 seconds"))
	}
	if s := spec.ServiceAccountTokenInSecrets; s != nil && len(spec.TokenRequests) == 0 {
		l.Add(field.Invalid(specPath.Child("serviceAccountTokenInSecrets"), *s, "serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	set(spec.PreventPodSchedulingIfMissing, "preventPodSchedulingIfMissing")
	return l.ErrorList
}

func tokenRequests(l *check.List, requests []storagev1.TokenRequest, at *field.Path) {
	seen := map[string]bool{}
	for i, r := range requests {
		at := at.Index(i)
		if seen[r.Audience] {
			l.Add(field.Duplicate(at.Child("audience"), r.Audience))
			continue
		}
		seen[r.Audience] = true
		if s := r.ExpirationSeconds; s != nil && *s < shortestToken {
			l.Add(field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration less than 10 minutes"))
		} else if s != nil && *s > longestToken {
			l.Add(field.Invalid(at.Child("expirationSeconds"), *s, "may not specify a duration larger than 2^32 seconds"))
		}
	}
}

func validateCSIDriverUpdate(req *kinds.Request, d, old *storagev1.CSIDriver) field.ErrorList {
	l := check.List{ErrorList: validateCSIDriver(req, d)}
	l.Immutable(specPath.Child("attachedRequired"), d.Spec.AttachRequired, old.Spec.AttachRequired)
	l.Immutable(specPath.Child("volumeLifecycleModes"), d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes)
	return l.ErrorList
}

func csiDriverWarnings(_ *kinds.Request, d, old *storagev1.CSIDriver) []string {
	spec := &d.Spec
	if len(spec.TokenRequests) == 0 || spec.ServiceAccountTokenInSecrets != nil ||
		old != nil && apiequality.Semantic.DeepEqual(spec.TokenRequests, old.Spec.TokenRequests) {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}

func validateCSINode(_ *kinds.Request, n *storagev1.CSINode) field.ErrorList {
	var l check.List
	drivers := map[string]bool{}
	for i := range n.Spec.Drivers {
		d, at := &n.Spec.Drivers[i], specPath.Child("drivers").Index(i)
		podspec.CSIDriverName(&l, d.Name, at.Child("name"))
		l.Require(at.Child("nodeID"), d.NodeID)
		if len(d.NodeID) > longestNodeID {
			l.Add(field.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", longestNodeID)))
		}
		if a := d.Allocatable; a != nil && a.Count != nil {
			l.NotNegative(at.Child("allocatable", "count"), int64(*a.Count))
		}
		if drivers[d.Name] {
			l.Add(field.Duplicate(at.Child("name"), d.Name))
		}
		drivers[d.Name] = true
		topologyKeys(&l, d.TopologyKeys, at)
	}
	return l.ErrorList
}

func topologyKeys(l *check.List, keys []string, at *field.Path) {
	seen := map[string]bool{}
	for _, key := range keys {
		l.Require(at, key)
		if seen[key] {
			l.Add(field.Duplicate(at, key))
		}
		seen[key] = true
		l.Qualified(at, key)
	}
}

// validateCSINodeUpdate: of a driver that stays only the number of volumes may change.
func validateCSINodeUpdate(_ *kinds.Request, n, old *storagev1.CSINode) field.ErrorList {
	var l check.List
	for _, before := range old.Spec.Drivers {
		for _, now := range n.Spec.Drivers {
			if before.Name == now.Name {
				before.Allocatable, now.Allocatable = nil, nil
				l.Immutable(specPath.Child("drivers"), &now, &before)
			}
		}
	}
	return l.ErrorList
}

// How much a driver may tell about the health of its storage.
const (
	mostConditions = 16
	longestReason  = 256
	longestMessage = 1024
)

func validateCSINodeStatus(_ *kinds.Request, n, _ *storagev1.CSINode) field.ErrorList {
	var l check.List
	drivers := map[string]bool{}
	for i := range n.Status.StorageHealth {
		h, at := &n.Status.StorageHealth[i], statusPath.Child("storageHealth").Index(i)
		if drivers[h.Name] {
			l.Add(field.Duplicate(at, h.Name))
		}
		drivers[h.Name] = true
		podspec.CSIDriverName(&l, h.Name, at.Child("name"))
		at = at.Child("healthConditions")
		if len(h.HealthConditions) > mostConditions {
			l.Add(field.TooMany(at, len(h.HealthConditions), mostConditions))
			continue
		}
		for j := range h.HealthConditions {
			healthCondition(&l, &h.HealthConditions[j], at.Index(j))
		}
	}
	return l.ErrorList
}

func healthCondition(l *check.List, c *storagev1.StorageHealthCondition, at *field.Path) {
	check.OneOf(l, at.Child("status"), c.Status, storagev1.StorageDegraded, storagev1.StorageUnreachable)
	if r := at.Child("reason"); l.Require(r, c.Reason) {
		l.Rule(r, c.Reason, metavalidation.IsValidConditionReason)
		if len(c.Reason) > longestReason {
			l.Add(field.TooLong(r, c.Reason, longestReason))
		}
	}
	if len(c.Message) > longestMessage {
		l.Add(field.TooLong(at.Child("message"), c.Message, longestMessage))
	}
	if c.AccessMode != nil {
		check.OneOf(l, at.Child("accessMode"), *c.AccessMode, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
	}
	if c.VolumeMode != nil {
		check.OneOf(l, at.Child("volumeMode"), *c.VolumeMode, corev1.PersistentVolumeFilesystem, corev1.PersistentVolumeBlock)
	}
}

func validateCapacity(_ *kinds.Request, c *storagev1.CSIStorageCapacity) field.ErrorList {
	return capacity(c, metavalidation.LabelSelectorValidationOptions{})
}

func capacity(c *storagev1.CSIStorageCapacity, o metavalidation.LabelSelectorValidationOptions) field.ErrorList {
	var l check.List
	l.All(metavalidation.ValidateLabelSelector(c.NodeTopology, o, field.NewPath("nodeTopology")))
	l.Name(field.NewPath("storageClassName"), c.StorageClassName, apivalidation.NameIsDNSSubdomain)
	if c.Capacity != nil {
		l.QuantityNotNegative(field.NewPath("capacity"), *c.Capacity)
	}
	return l.ErrorList
}

// validateCapacityUpdate lets a topology keep label values that an older server took.
func validateCapacityUpdate(_ *kinds.Request, c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	var o metavalidation.LabelSelectorValidationOptions
	o.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(old.NodeTopology, o, nil)) > 0
	l := check.List{ErrorList: append(kinds.ValidateMeta(c, kinds.Namespaced, kinds.Subdomain), capacity(c, o)...)}
	l.Immutable(field.NewPath("nodeTopology"), c.NodeTopology, old.NodeTopology)
	l.Immutable(field.NewPath("storageClassName"), c.StorageClassName, old.StorageClassName)
	return l.ErrorList
}

// How much an attachment may hold of what its driver says.
const longestMetadata = 256 << 10 // bytes, keys and values together

func validateAttachment(_ *kinds.Request, a *storagev1.VolumeAttachment) field.ErrorList {
	var l check.List
	podspec.CSIDriverName(&l, a.Spec.Attacher, specPath.Child("attacher"))
	source, s := specPath.Child("source"), &a.Spec.Source
	switch {
	case s.InlineVolumeSpec == nil && s.PersistentVolumeName == nil:
		l.Add(field.Required(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case s.InlineVolumeSpec != nil && s.PersistentVolumeName != nil:
		l.Add(field.Forbidden(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case s.InlineVolumeSpec != nil:
		l.All(core.ValidateInlineVolumeSpec(s.InlineVolumeSpec, source.Child("inlineVolumeSpec")))
	case *s.PersistentVolumeName == "":
		l.Add(field.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	}
	l.Name(specPath.Child("nodeName"), a.Spec.NodeName, apivalidation.NameIsDNSSubdomain)
	size := 0
	for key, value := range a.Status.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > longestMetadata {
		l.Add(field.TooLong(statusPath.Child("attachmentMetadata"), "", longestMetadata))
	}
	volumeError(&l, a.Status.AttachError, statusPath.Child("attachError"))
	volumeError(&l, a.Status.DetachError, statusPath.Child("detachError"))
	if name := s.PersistentVolumeName; name != nil {
		l.Name(source.Child("persistentVolumeName"), *name, apivalidation.NameIsDNSSubdomain)
	}
	return l.ErrorList
}

func volumeError(l *check.List, e *storagev1.VolumeError, at *field.Path) {
	if e == nil {
		return
	}
	if len(e.Message) > longestMessage {
		l.Add(field.TooLong(at.Child("message"), "", longestMessage))
	}
	if e.ErrorCode != nil && *e.ErrorCode < 0 {
		l.Add(field.Invalid(at.Child("errorCode"), *e.ErrorCode, validation.InclusiveRangeError(0, math.MaxInt32)))
	}
}

func validateAttachmentUpdate(req *kinds.Request, a, old *storagev1.VolumeAttachment) field.ErrorList {
	l := check.List{ErrorList: append(kinds.ValidateMeta(a, kinds.Cluster, kinds.Subdomain), validateAttachment(req, a)...)}
	if !apiequality.Semantic.DeepEqual(a.Spec, old.Spec) {
		l.Fixed(specPath)
	}
	return l.ErrorList
}
