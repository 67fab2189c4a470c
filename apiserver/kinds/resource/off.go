package resource

import (
	"slices"

	resourcev1 "k8s.io/api/resource/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// The fields of v1.37's alpha features are dropped as they come in, as by an upstream server that has them off. They
// stay where the stored object uses the feature: data of a server that had it on.

// dropDerived: derived attributes.
func dropDerived(spec, old *resourcev1.ResourceClaimSpec) {
	used := false
	each := func(spec *resourcev1.ResourceClaimSpec, visit func(*[]resourcev1.DeviceDerivedAttribute)) {
		for i := range spec.Devices.Requests {
			r := &spec.Devices.Requests[i]
			if r.Exactly != nil {
				visit(&r.Exactly.DerivedAttributes)
			}
			for j := range r.FirstAvailable {
				visit(&r.FirstAvailable[j].DerivedAttributes)
			}
		}
	}
	if old != nil {
		each(old, func(list *[]resourcev1.DeviceDerivedAttribute) { used = used || len(*list) > 0 })
	}
	if !used {
		each(spec, func(list *[]resourcev1.DeviceDerivedAttribute) { *list = nil })
	}
}

func dropSliceOff(_ *kinds.Request, s, old *resourcev1.ResourceSlice) {
	var before resourcev1.ResourceSliceSpec
	if old != nil {
		before = old.Spec
	}
	used := func(by func(*resourcev1.Device) bool) bool {
		return slices.ContainsFunc(before.Devices, func(d resourcev1.Device) bool { return by(&d) })
	}
	if before.PartitionTypeAttribute == nil {
		s.Spec.PartitionTypeAttribute = nil
	}
	if len(before.SkipNodeOperations) == 0 {
		s.Spec.SkipNodeOperations = nil
	}
	groups := used(func(d *resourcev1.Device) bool {
		return slices.ContainsFunc(d.ConsumesCounters, func(c resourcev1.DeviceCounterConsumption) bool { return len(c.CompatibilityGroups) > 0 })
	})
	mapped := used(func(d *resourcev1.Device) bool { return len(d.NodeAllocatableResources) > 0 })
	lists := used(func(d *resourcev1.Device) bool {
		for _, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				return true
			}
		}
		return false
	})
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		if !groups {
			for j := range d.ConsumesCounters {
				d.ConsumesCounters[j].CompatibilityGroups = nil
			}
		}
		if !mapped {
			d.NodeAllocatableResources = nil
		}
		if lists {
			continue
		}
		for name, a := range d.Attributes {
			a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
			d.Attributes[name] = a
		}
	}
}
