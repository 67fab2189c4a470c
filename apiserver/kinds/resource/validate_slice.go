package resource

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

func validateSlice(_ *kinds.Request, s *resourcev1.ResourceSlice) field.ErrorList {
	var l check.List
	sliceSpec(&l, &s.Spec, nil)
	return l.ErrorList
}

func validateSliceUpdate(_ *kinds.Request, s, old *resourcev1.ResourceSlice) field.ErrorList {
	var l check.List
	sliceSpec(&l, &s.Spec, &old.Spec)
	l.Immutable(specPath.Child("pool", "name"), s.Spec.Pool.Name, old.Spec.Pool.Name)
	l.Immutable(specPath.Child("driver"), s.Spec.Driver, old.Spec.Driver)
	l.Immutable(specPath.Child("nodeName"), s.Spec.NodeName, old.Spec.NodeName)
	return l.ErrorList
}

func sliceWarnings(_ *kinds.Request, s, _ *resourcev1.ResourceSlice) []string {
	if d := s.Spec.Driver; d != strings.ToLower(d) {
		return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", d)}
	}
	return nil
}

// places collects the ways in which somebody says where devices are; there has to be one.
type places struct {
	*check.List
	at  *field.Path
	set []string
}

func (p *places) nodeName(name *string, empty string) {
	switch {
	case name == nil:
	case *name == "":
		p.Add(field.Invalid(p.at.Child("nodeName"), *name, empty))
	default:
		p.set = append(p.set, "`nodeName`")
		p.Name(p.at.Child("nodeName"), *name, apivalidation.NameIsDNSSubdomain)
	}
}

func (p *places) truth(name string, value *bool) {
	switch {
	case value == nil:
	case *value:
		p.set = append(p.set, "`"+name+"`")
	default:
		p.Add(field.Invalid(p.at.Child(name), *value, "must be either unset or set to true"))
	}
}

// one complains about none or several.
func (p *places) one(none, several string) {
	switch len(p.set) {
	case 0:
		p.Add(field.Required(p.at, none))
	case 1:
	default:
		p.Add(field.Invalid(p.at, "{"+strings.Join(p.set, ", ")+"}", several))
	}
}

func sliceSpec(l *check.List, spec, old *resourcev1.ResourceSliceSpec) {
	podspec.CSIDriverName(l, spec.Driver, specPath.Child("driver"))
	pool := specPath.Child("pool")
	poolName(l, pool.Child("name"), spec.Pool.Name)
	l.Positive(pool.Child("resourceSliceCount"), spec.Pool.ResourceSliceCount)
	if spec.Pool.Generation < 0 {
		l.Add(field.Invalid(pool.Child("generation"), spec.Pool.Generation, "must be greater than or equal to zero"))
	}
	p := &places{List: l, at: specPath}
	p.nodeName(spec.NodeName, "must be either unset or set to a non-empty string")
	if s, at := spec.NodeSelector, specPath.Child("nodeSelector"); s != nil {
		p.set = append(p.set, "`nodeSelector`")
		podspec.NodeSelector(l, s, at)
		if len(s.NodeSelectorTerms) != 1 {
			l.Add(field.Invalid(at.Child("nodeSelectorTerms"), s.NodeSelectorTerms, "must have exactly one node selector term"))
		}
	}
	p.truth("allNodes", spec.AllNodes)
	p.truth("perDeviceNodeSelection", spec.PerDeviceNodeSelection)
	const need = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	p.one(need, need+", but multiple fields are set")
	if spec.SharedCounters != nil && spec.Devices != nil {
		l.Add(field.Invalid(specPath, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	sliceDevices(l, spec, old)
	counterSets(l, spec.SharedCounters, specPath.Child("sharedCounters"))
}

func sliceDevices(l *check.List, spec, old *resourcev1.ResourceSliceSpec) {
	most := mostDevices
	if slices.ContainsFunc(spec.Devices, func(d resourcev1.Device) bool { return len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 }) {
		most = mostAdvancedDevices
	}
	at := specPath.Child("devices")
	if !few(l, at, len(spec.Devices), most) {
		return
	}
	before := map[string]*resourcev1.Device{}
	if old != nil {
		for i := range old.Devices {
			before[old.Devices[i].Name] = &old.Devices[i]
		}
	}
	names := map[string]bool{}
	for i := range spec.Devices {
		d := &spec.Devices[i]
		offered(l, d, before[d.Name], spec.PerDeviceNodeSelection != nil && *spec.PerDeviceNodeSelection, at.Index(i))
		if names[d.Name] {
			l.Add(field.Duplicate(at.Index(i), d.Name))
		}
		names[d.Name] = true
	}
}

func counterSets(l *check.List, sets []resourcev1.CounterSet, at *field.Path) {
	if !few(l, at, len(sets), mostCounterSets) {
		return
	}
	for i := range sets {
		required(l, at.Index(i).Child("name"), sets[i].Name, validate.ShortName[string])
		counters(l, sets[i].Counters, at.Index(i).Child("counters"))
	}
	unique(l, at, sets, func(s *resourcev1.CounterSet) string { return s.Name })
}

func counters(l *check.List, set map[string]resourcev1.Counter, at *field.Path) {
	if len(set) == 0 {
		l.Add(field.Required(at, ""))
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		by(l, at, name, validate.ShortName[string])
	}
	few(l, at, len(set), mostCounters)
}

// offered checks a device. What an old device has and an older server took may stay.
func offered(l *check.List, d, old *resourcev1.Device, perDevice bool, at *field.Path) {
	l.Label(at.Child("name"), d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > mostAttributes {
		l.Add(field.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", mostAttributes)))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		p := at.Child("attributes")
		qualifiedName(l, p, string(name))
		value := d.Attributes[name]
		attribute(l, &value, p.Key(shortened(string(name), longestQualified)))
	}
	if old == nil || !apiequality.Semantic.DeepEqual(old.Capacity, d.Capacity) {
		capacities(l, d, at.Child("capacity"))
	}
	if old == nil || !apiequality.Semantic.DeepEqual(old.Taints, d.Taints) {
		if p := at.Child("taints"); few(l, p, len(d.Taints), mostTaints) {
			for i := range d.Taints {
				taint(l, &d.Taints[i], nil, p.Index(i))
			}
		}
	}
	consumptions(l, d.ConsumesCounters, at.Child("consumesCounters"))
	if perDevice {
		p := &places{List: l, at: at}
		p.nodeName(d.NodeName, "must not be empty")
		if d.NodeSelector != nil {
			p.set = append(p.set, "`nodeSelector`")
			podspec.NodeSelector(l, d.NodeSelector, at.Child("nodeSelector"))
		}
		p.truth("allNodes", d.AllNodes)
		const need = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
		p.one(need, need)
	} else if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
		l.Add(field.Invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"))
	}
	bindingStates(l, d.BindingConditions, d.BindingFailureConditions, at)
}

func consumptions(l *check.List, list []resourcev1.DeviceCounterConsumption, at *field.Path) {
	if !few(l, at, len(list), mostConsumptions) {
		return
	}
	for i := range list {
		required(l, at.Index(i).Child("counterSet"), list[i].CounterSet, validate.ShortName[string])
		counters(l, list[i].Counters, at.Index(i).Child("counters"))
	}
	unique(l, at, list, func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet })
}

// attributeKinds are the fields of which an attribute has one.
var attributeKinds = validate.NewUnionMembership(validate.NewUnionMember("int"), validate.NewUnionMember("bool"),
	validate.NewUnionMember("string"), validate.NewUnionMember("version"), validate.NewUnionMember("ints"), validate.NewUnionMember("bools"),
	validate.NewUnionMember("strings"), validate.NewUnionMember("versions"))

func attribute(l *check.List, a *resourcev1.DeviceAttribute, at *field.Path) {
	if s := a.StringValue; s != nil && len(*s) > longestAttribute {
		l.Add(field.TooLong(at.Child("string"), "", longestAttribute))
	}
	if v := a.VersionValue; v != nil {
		if !semver.MatchString(*v) {
			l.Add(field.Invalid(at.Child("version"), *v, "must be a string compatible with semver.org spec 2.0.0"))
		}
		if len(*v) > longestAttribute {
			l.Add(field.TooLong(at.Child("version"), "", longestAttribute))
		}
	}
	// Lists as values are an alpha feature and off: they are gone by now.
	none := func(*resourcev1.DeviceAttribute) bool { return false }
	l.All(validate.Union(context.Background(), operation.Operation{}, at, a, nil, attributeKinds,
		func(a *resourcev1.DeviceAttribute) bool { return a.IntValue != nil },
		func(a *resourcev1.DeviceAttribute) bool { return a.BoolValue != nil },
		func(a *resourcev1.DeviceAttribute) bool { return a.StringValue != nil },
		func(a *resourcev1.DeviceAttribute) bool { return a.VersionValue != nil }, none, none, none, none))
}

// semver is semver.org's grammar of 2.0.0.
var semver = func() *regexp.Regexp {
	const number, before, build = `(0|[1-9]\d*)`, `(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)`, `[0-9a-zA-Z-]+`
	return regexp.MustCompile(`^` + number + `\.` + number + `\.` + number + `(-` + before + `(\.` + before + `)*)?(\+` + build + `(\.` + build + `)*)?$`)
}()

func labelValue(l *check.List, at *field.Path, value string) {
	l.Rule(at, value, validation.IsValidLabelValue)
}
