package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// DeviceClass names devices that can be claimed.
var DeviceClass = kinds.Define(kinds.Row[*resourcev1.DeviceClass]{
	Resource: "deviceclasses", Generation: kinds.GenerationAlways, ReturnDeleted: true, Name: className,
	Validate: validateClass, ValidateUpdate: validateClassUpdate,
	Columns: []kinds.Column[*resourcev1.DeviceClass]{kinds.NameColumn[*resourcev1.DeviceClass](), kinds.AgeColumn[*resourcev1.DeviceClass]()},
})

// ResourceSlice lists devices of a driver.
var ResourceSlice = kinds.Define(kinds.Row[*resourcev1.ResourceSlice]{
	Resource: "resourceslices", UnknownField: "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: %s", Generation: kinds.GenerationAlways, ReturnDeleted: true,
	Default:       defaultSlice,
	PrepareCreate: func(req *kinds.Request, s *resourcev1.ResourceSlice) { dropSliceOff(req, s, nil) }, PrepareUpdate: dropSliceOff,
	Validate: validateSlice, ValidateUpdate: validateSliceUpdate, Warnings: sliceWarnings,
	Fields: func(s *resourcev1.ResourceSlice) fields.Set {
		return fields.Set{
			resourcev1.ResourceSliceSelectorNodeName: show.Text(s.Spec.NodeName, ""),
			resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
			"spec.pool.name":                         s.Spec.Pool.Name,
		}
	},
	Columns: []kinds.Column[*resourcev1.ResourceSlice]{
		kinds.NameColumn[*resourcev1.ResourceSlice](),
		{Name: "Node", Description: kinds.Doc(resourcev1.ResourceSliceSpec{}, "nodeName"),
			Cell: func(s *resourcev1.ResourceSlice) any { return show.Text(s.Spec.NodeName, "") }},
		{Name: "Driver", Description: kinds.Doc(resourcev1.ResourceSliceSpec{}, "driver"),
			Cell: func(s *resourcev1.ResourceSlice) any { return s.Spec.Driver }},
		{Name: "Pool", Description: kinds.Doc(resourcev1.ResourcePool{}, "name"),
			Cell: func(s *resourcev1.ResourceSlice) any { return s.Spec.Pool.Name }},
		kinds.AgeColumn[*resourcev1.ResourceSlice](),
	},
})

// ResourceClaim asks for devices.
var ResourceClaim = kinds.Define(kinds.Row[*resourcev1.ResourceClaim]{
	Resource: "resourceclaims", Scope: kinds.Namespaced, Generation: kinds.GenerationNever,
	StatusResetsMeta: true, StatusResets: []string{"metadata", "spec"},
	Default: defaultClaim, ReturnDeleted: true, Begin: beginClaim,
	PrepareCreate: func(_ *kinds.Request, c *resourcev1.ResourceClaim) { dropDerived(&c.Spec, nil) },
	PrepareUpdate: func(_ *kinds.Request, c, old *resourcev1.ResourceClaim) { dropDerived(&c.Spec, &old.Spec) },
	PrepareStatus: forgetReleased,
	Validate:      validateClaim, ValidateUpdate: validateClaimUpdate, ValidateStatus: validateClaimStatus,
	Columns: []kinds.Column[*resourcev1.ResourceClaim]{
		kinds.NameColumn[*resourcev1.ResourceClaim](),
		{Name: "State", Description: "A summary of the current state (allocated, pending, reserved, etc.).", Cell: claimState},
		kinds.AgeColumn[*resourcev1.ResourceClaim](),
	},
})

// ResourceClaimTemplate is what claims of pods are made from.
var ResourceClaimTemplate = kinds.Define(kinds.Row[*resourcev1.ResourceClaimTemplate]{
	Resource: "resourceclaimtemplates", Scope: kinds.Namespaced,
	Default: func(t *resourcev1.ResourceClaimTemplate) { defaultRequests(&t.Spec.Spec) }, ReturnDeleted: true, Begin: beginTemplate,
	PrepareCreate: func(_ *kinds.Request, t *resourcev1.ResourceClaimTemplate) { dropDerived(&t.Spec.Spec, nil) },
	PrepareUpdate: func(_ *kinds.Request, t, old *resourcev1.ResourceClaimTemplate) {
		dropDerived(&t.Spec.Spec, &old.Spec.Spec)
	},
	Validate: validateTemplate, ValidateUpdate: validateTemplateUpdate, Revalidate: true,
	Columns: []kinds.Column[*resourcev1.ResourceClaimTemplate]{kinds.NameColumn[*resourcev1.ResourceClaimTemplate](), kinds.AgeColumn[*resourcev1.ResourceClaimTemplate]()},
})

// DeviceTaintRule keeps claims away from devices.
var DeviceTaintRule = kinds.Define(kinds.Row[*resourcev1.DeviceTaintRule]{
	Resource: "devicetaintrules", StorageVersion: "v1beta2", NoUnconditionalUpdate: true,
	StatusResetsMeta: true, StatusResets: []string{"metadata", "spec"},
	Default:       func(r *resourcev1.DeviceTaintRule) { defaultTaint(&r.Spec.Taint) },
	PrepareUpdate: stampEffect, Validate: validateTaintRule, ValidateUpdate: validateTaintRuleUpdate, ValidateStatus: validateTaintRuleStatus,
	Columns: []kinds.Column[*resourcev1.DeviceTaintRule]{
		kinds.NameColumn[*resourcev1.DeviceTaintRule](),
		{Name: "Key", Description: kinds.Doc(resourcev1.DeviceTaint{}, "key"),
			Cell: func(r *resourcev1.DeviceTaintRule) any { return r.Spec.Taint.Key }},
		{Name: "Value", Description: kinds.Doc(resourcev1.DeviceTaint{}, "value"),
			Cell: func(r *resourcev1.DeviceTaintRule) any { return r.Spec.Taint.Value }},
		{Name: "Effect", Description: kinds.Doc(resourcev1.DeviceTaint{}, "effect"),
			Cell: func(r *resourcev1.DeviceTaintRule) any { return string(r.Spec.Taint.Effect) }},
		{Name: "TimeAdded", Description: kinds.Doc(resourcev1.DeviceTaint{}, "timeAdded"),
			Cell: func(r *resourcev1.DeviceTaintRule) any {
				if r.Spec.Taint.TimeAdded == nil {
					return ""
				}
				return kinds.Age(*r.Spec.Taint.TimeAdded)
			}},
		kinds.AgeColumn[*resourcev1.DeviceTaintRule](),
	},
})

// claimState joins what can be said of a claim.
func claimState(c *resourcev1.ResourceClaim) any {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	case c.DeletionTimestamp == nil:
		states = append(states, "pending")
	}
	return strings.Join(states, ",")
}
