package resource

import (
	"context"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// deviceID names a device, or a share of one.
type deviceID struct{ Driver, Pool, Device, ShareID string }

func allocatedID(r *resourcev1.DeviceRequestAllocationResult) deviceID {
	id := deviceID{Driver: r.Driver, Pool: r.Pool, Device: r.Device}
	if r.ShareID != nil {
		id.ShareID = string(*r.ShareID)
	}
	return id
}

func reportedID(d *resourcev1.AllocatedDeviceStatus) deviceID {
	id := deviceID{Driver: d.Driver, Pool: d.Pool, Device: d.Device}
	if d.ShareID != nil {
		id.ShareID = *d.ShareID
	}
	return id
}

// allocated are the devices that a claim has.
func allocated(s *resourcev1.ResourceClaimStatus) map[deviceID]bool {
	out := map[deviceID]bool{}
	if s.Allocation != nil {
		for i := range s.Allocation.Devices.Results {
			out[allocatedID(&s.Allocation.Devices.Results[i])] = true
		}
	}
	return out
}

// forgetReleased drops what drivers say about devices that this write gives back.
func forgetReleased(_ *kinds.Request, c, old *resourcev1.ResourceClaim) {
	before, now := allocated(&old.Status), allocated(&c.Status)
	c.Status.Devices = slices.DeleteFunc(c.Status.Devices, func(d resourcev1.AllocatedDeviceStatus) bool {
		id := reportedID(&d)
		return before[id] && !now[id]
	})
	if len(c.Status.Devices) == 0 {
		c.Status.Devices = nil
	}
	// Skipping operations of a node is an alpha feature and off.
	if a := c.Status.Allocation; a != nil && old.Status.Allocation == nil {
		for i := range a.Devices.Results {
			a.Devices.Results[i].SkipNodeOperations = nil
		}
	}
}

func validateClaimStatus(_ *kinds.Request, c, old *resourcev1.ResourceClaim) field.ErrorList {
	var l check.List
	s, names := &c.Status, requestsOf(&c.Spec.Devices)
	reserved := statusPath.Child("reservedFor")
	if few(&l, reserved, len(s.ReservedFor), mostConsumers) {
		for i := range s.ReservedFor {
			r, at := &s.ReservedFor[i], reserved.Index(i)
			l.Require(at.Child("resource"), r.Resource)
			l.Require(at.Child("name"), r.Name)
			l.Require(at.Child("uid"), string(r.UID))
		}
		unique(&l, reserved, s.ReservedFor, func(r *resourcev1.ResourceClaimConsumerReference) types.UID { return r.UID })
	}
	devices, has := statusPath.Child("devices"), allocated(s)
	for i := range s.Devices {
		device(&l, &s.Devices[i], has, devices.Index(i))
	}
	unique(&l, devices, s.Devices, reportedID)
	if len(s.ReservedFor) > 0 {
		switch {
		case s.Allocation == nil:
			l.Add(field.Forbidden(reserved, "may not be specified when `allocated` is not set"))
		case c.DeletionTimestamp != nil && slices.ContainsFunc(s.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool {
			return !slices.Contains(old.Status.ReservedFor, r)
		}):
			l.Add(field.Forbidden(reserved, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"))
		}
	}
	allocation := statusPath.Child("allocation")
	switch {
	case s.Allocation != nil && old.Status.Allocation != nil:
		// An allocation comes and goes as a whole.
		l.All(validate.UpdatePointer(context.Background(), operation.Operation{Type: operation.Update}, allocation, s.Allocation, old.Status.Allocation, validate.NoModify))
	case s.Allocation != nil:
		results(&l, s.Allocation, names, allocation)
	}
	return l.ErrorList
}

func results(l *check.List, a *resourcev1.AllocationResult, names requests, at *field.Path) {
	list := at.Child("devices", "results")
	if few(l, list, len(a.Devices.Results), mostResults) {
		for i := range a.Devices.Results {
			r, at := &a.Devices.Results[i], list.Index(i)
			names.reference(l, at.Child("request"), r.Request)
			driverName(l, at.Child("driver"), r.Driver)
			required(l, at.Child("pool"), r.Pool, validate.ResourcePoolName[string])
			l.Label(at.Child("device"), r.Device)
			bindingStates(l, r.BindingConditions, r.BindingFailureConditions, at)
			tolerations(l, r.Tolerations, at.Child("tolerations"))
			if r.ShareID != nil {
				by(l, at.Child("shareID"), *r.ShareID, validate.UUID[types.UID])
			}
		}
	}
	configs := at.Child("devices", "config")
	// Both the class and the claim may configure.
	if few(l, configs, len(a.Devices.Config), 2*mostConfigs) {
		for i := range a.Devices.Config {
			c, at := &a.Devices.Config[i], configs.Index(i)
			check.RequiredOneOf(l, at.Child("source"), c.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
			names.references(l, at.Child("requests"), c.Requests)
			configuration(l, &c.DeviceConfiguration, at, false)
		}
	}
	if a.NodeSelector != nil {
		podspec.NodeSelector(l, a.NodeSelector, at.Child("nodeSelector"))
	}
}

// device checks what a driver says about a device that it has prepared.
func device(l *check.List, d *resourcev1.AllocatedDeviceStatus, has map[deviceID]bool, at *field.Path) {
	podspec.CSIDriverName(l, d.Driver, at.Child("driver"))
	poolName(l, at.Child("pool"), d.Pool)
	l.Label(at.Child("device"), d.Device)
	if d.ShareID != nil {
		by(l, at.Child("shareID"), *d.ShareID, validate.UUID[string])
	}
	if id := reportedID(d); !has[id] {
		l.Add(field.Invalid(at, id, "must be an allocated device in the claim"))
	}
	few(l, at.Child("conditions"), len(d.Conditions), mostConditions)
	l.All(metavalidation.ValidateConditions(d.Conditions, at.Child("conditions")))
	if d.Data != nil && len(d.Data.Raw) > 0 {
		object(l, *d.Data, at.Child("data"), false)
	}
	n, at := d.NetworkData, at.Child("networkData")
	if n == nil {
		return
	}
	if len(n.InterfaceName) > longestInterface {
		l.Add(field.TooLong(at.Child("interfaceName"), "", longestInterface))
	}
	if len(n.HardwareAddress) > longestHardware {
		l.Add(field.TooLong(at.Child("hardwareAddress"), "", longestHardware))
	}
	if ips := at.Child("ips"); few(l, ips, len(n.IPs), mostAddresses) {
		for i, ip := range n.IPs {
			l.All(validation.IsValidInterfaceAddress(ips.Index(i), ip))
		}
		unique(l, ips, n.IPs, itself)
	}
}
