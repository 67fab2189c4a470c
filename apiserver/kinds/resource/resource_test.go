package resource

import (
	"testing"

	resourcev1 "k8s.io/api/resource/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/kindtest"
)

func TestClaims(t *testing.T) {
	const one = `spec: {devices: {requests: [{name: r, exactly: {deviceClassName: c}}]}}`
	kindtest.Run(t, ResourceClaim, "claim", []kindtest.Case{
		{Name: "one device", Object: one},
		{Name: "neither one nor a choice", Object: `spec: {devices: {requests: [{name: r}]}}`, Want: []string{"exactly one of `exactly` or `firstAvailable` is required"}},
		{Name: "all, and how many", Object: `spec: {devices: {requests: [{name: r, exactly: {deviceClassName: c, allocationMode: All, count: 2}}]}}`, Want: []string{"must not be specified when allocationMode is 'All'"}},
		{Name: "an expression that is not true or false", Object: `spec: {devices: {requests: [{name: r, exactly: {deviceClassName: c, selectors: [{cel: {expression: "device.driver"}}]}}]}}`,
			Want: []string{"selectors[0].cel.expression: Invalid value"}},
		{Name: "a constraint on an alternative", Object: `spec: {devices: {requests: [{name: r, firstAvailable: [{name: s, deviceClassName: c}]}], constraints: [{requests: [r/s], matchAttribute: a.example.com/x}]}}`},
		{Name: "a constraint on nothing", Object: `spec: {devices: {requests: [{name: r, exactly: {deviceClassName: c}}], constraints: [{requests: [q], matchAttribute: a.example.com/x}]}}`,
			Want: []string{"must be the name of a request in the claim"}},
		{Name: "a name twice", Object: `spec: {devices: {requests: [{name: r, exactly: {deviceClassName: c}}, {name: r, exactly: {deviceClassName: c}}]}}`,
			Want: []string{`spec.devices.requests[1]: Duplicate value: {"name":"r"`}},
		{Name: "other devices", Object: `spec: {devices: {requests: [{name: q, exactly: {deviceClassName: c}}]}}`, Old: one, Want: []string{"spec: Invalid value: null: field is immutable"}},
		{Name: "used before it is allocated", Object: `status: {reservedFor: [{resource: pods, name: p, uid: u}]}`, Old: one, Door: "status", Want: []string{"may not be specified when `allocated` is not set"}},
		{Name: "allocated", Object: `status: {allocation: {devices: {results: [{request: r, driver: d, pool: p, device: x}]}}}`, Old: one, Door: "status"},
		{Name: "a report about somebody else's device", Object: `status: {devices: [{driver: d, pool: p, device: y}], allocation: {devices: {results: [{request: r, driver: d, pool: p, device: x}]}}}`,
			Old: one, Door: "status", Want: []string{"must be an allocated device in the claim"}},
	})
}

func TestReportsGoWithTheirDevices(t *testing.T) {
	const spec = `spec: {devices: {requests: [{name: r, exactly: {deviceClassName: c}}]}}
`
	old := kindtest.Read(t, ResourceClaim, "c", spec+`status: {devices: [{driver: d, pool: p, device: x}], allocation: {devices: {results: [{request: r, driver: d, pool: p, device: x}]}}}`)
	now := kindtest.Read(t, ResourceClaim, "c", spec+`status: {devices: [{driver: d, pool: p, device: x}]}`)
	ResourceClaim.Subresources["status"].Update.Prepare(&kinds.Request{}, now, old)
	if left := now.(*resourcev1.ResourceClaim).Status.Devices; len(left) != 0 {
		t.Errorf("reports about released devices stay: %v", left)
	}
}

func TestSlices(t *testing.T) {
	device := func(d string) string {
		return `spec: {driver: d, nodeName: n, pool: {name: p, resourceSliceCount: 1}, devices: [` + d + `]}`
	}
	kindtest.Run(t, ResourceSlice, "s", []kindtest.Case{
		{Name: "a device", Object: device(`{name: x, attributes: {model: {string: a}, v: {version: 1.2.3-rc.1}}}`)},
		{Name: "nowhere", Object: `spec: {driver: d, pool: {name: p, resourceSliceCount: 1}}`, Want: []string{"exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"}},
		{Name: "an attribute with two values", Object: device(`{name: x, attributes: {a: {string: a, int: 1}}}`), Want: []string{"devices[0].attributes[a]: Invalid value: \"{int, string}\""}},
		{Name: "a version that is none", Object: device(`{name: x, attributes: {a: {version: "1"}}}`), Want: []string{"semver.org"}},
		{Name: "shares of what is not shared", Object: device(`{name: x, capacity: {m: {value: 10, requestPolicy: {default: 1}}}}`), Want: []string{"allowMultipleAllocations must be true"}},
		{Name: "steps that miss the default", Object: device(`{name: x, allowMultipleAllocations: true, capacity: {m: {value: 10, requestPolicy: {default: 2, validRange: {min: 1, step: 2}}}}}`),
			Want: []string{"value is not a multiple of a given step (2) from (1)"}},
		{Name: "a device on a node of its own", Object: device(`{name: x, nodeName: m}`), Want: []string{"can only be set if `perDeviceNodeSelection` is set to true"}},
		{Name: "a pool on another node", Object: `spec: {driver: d, nodeName: m, pool: {name: p, resourceSliceCount: 1}}`, Old: `spec: {driver: d, nodeName: n, pool: {name: p, resourceSliceCount: 1}}`,
			Want: []string{"spec.nodeName: Invalid value"}},
	})
	kindtest.Run(t, DeviceTaintRule, "r", []kindtest.Case{
		{Name: "no effect", Object: `spec: {taint: {key: k}}`, Want: []string{"spec.taint.effect: Required value"}},
		{Name: "an effect of old may stay", Object: `spec: {taint: {key: k, effect: Odd}}`, Old: `spec: {taint: {key: k, effect: Odd}}`},
	})
	kindtest.Run(t, DeviceClass, "c", []kindtest.Case{
		{Name: "an extended resource without a domain", Object: `spec: {extendedResourceName: gpu}`, Want: []string{"a name must be a domain-prefixed path"}},
	})
}
