package resource

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

func validateClaim(_ *kinds.Request, c *resourcev1.ResourceClaim) field.ErrorList {
	var l check.List
	claimSpec(&l, &c.Spec, specPath)
	return l.ErrorList
}

func validateClaimUpdate(_ *kinds.Request, c, old *resourcev1.ResourceClaim) field.ErrorList {
	l := check.List{ErrorList: kinds.ValidateMeta(c, kinds.Namespaced, kinds.Subdomain)}
	if !apiequality.Semantic.DeepEqual(c.Spec, old.Spec) {
		l.Fixed(specPath)
	}
	return l.ErrorList
}

func validateTemplate(_ *kinds.Request, t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	var l check.List
	meta := specPath.Child("metadata")
	l.All(apivalidation.ValidateAnnotations(t.Spec.Annotations, meta.Child("annotations")))
	l.All(metavalidation.ValidateLabels(t.Spec.Labels, meta.Child("labels")))
	claimSpec(&l, &t.Spec.Spec, specPath.Child("spec"))
	return l.ErrorList
}

func validateTemplateUpdate(_ *kinds.Request, t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	var l check.List
	l.Immutable(specPath, t.Spec, old.Spec)
	return l.ErrorList
}

// requests are the names of a claim's requests, each with those of its alternatives.
type requests map[string]map[string]bool

func requestsOf(c *resourcev1.DeviceClaim) requests {
	out := requests{}
	for i := range c.Requests {
		r := &c.Requests[i]
		subs := map[string]bool{}
		for j := range r.FirstAvailable {
			subs[r.FirstAvailable[j].Name] = true
		}
		out[r.Name] = subs
	}
	return out
}

// reference checks the name of a request, or of a request and one of its alternatives.
func (r requests) reference(l *check.List, at *field.Path, name string) {
	request, sub, hasSub := strings.Cut(name, "/")
	if strings.Contains(sub, "/") {
		l.Add(field.Invalid(at, name, requestReferenceText))
		return
	}
	l.Label(at, request)
	if hasSub {
		l.Label(at, sub)
	}
	if subs, ok := r[request]; !ok || hasSub && !subs[sub] {
		l.Add(field.Invalid(at, name, requestReferenceText))
	}
}

func (r requests) references(l *check.List, at *field.Path, names []string) {
	if !few(l, at, len(names), mostRequests) {
		return
	}
	for i, name := range names {
		r.reference(l, at.Index(i), name)
	}
	unique(l, at, names, itself)
}

func claimSpec(l *check.List, spec *resourcev1.ResourceClaimSpec, at *field.Path) {
	c, at := &spec.Devices, at.Child("devices")
	names := requestsOf(c)
	if p := at.Child("requests"); few(l, p, len(c.Requests), mostRequests) {
		for i := range c.Requests {
			request(l, &c.Requests[i], p.Index(i))
		}
		unique(l, p, c.Requests, func(r *resourcev1.DeviceRequest) string { return r.Name })
	}
	if p := at.Child("constraints"); few(l, p, len(c.Constraints), mostConstraints) {
		for i := range c.Constraints {
			constraint(l, &c.Constraints[i], names, p.Index(i))
		}
	}
	if p := at.Child("config"); few(l, p, len(c.Config), mostConfigs) {
		for i := range c.Config {
			names.references(l, p.Index(i).Child("requests"), c.Config[i].Requests)
			configuration(l, &c.Config[i].DeviceConfiguration, p.Index(i), false)
		}
	}
}

func request(l *check.List, r *resourcev1.DeviceRequest, at *field.Path) {
	l.Label(at.Child("name"), r.Name)
	switch {
	case r.Exactly == nil && len(r.FirstAvailable) == 0:
		l.Add(field.Required(at, "exactly one of `exactly` or `firstAvailable` is required"))
	case r.Exactly != nil && len(r.FirstAvailable) > 0:
		l.Add(field.Invalid(at, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
	case r.Exactly != nil:
		e, at := r.Exactly, at.Child("exactly")
		if class := at.Child("deviceClassName"); l.Require(class, e.DeviceClassName) {
			l.Subdomain(class, e.DeviceClassName)
		}
		wanted(l, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, at)
	default:
		alternatives(l, r.FirstAvailable, at.Child("firstAvailable"))
	}
}

func alternatives(l *check.List, list []resourcev1.DeviceSubRequest, at *field.Path) {
	if !few(l, at, len(list), mostAlternatives) {
		return
	}
	for i := range list {
		r, at := &list[i], at.Index(i)
		l.Label(at.Child("name"), r.Name)
		required(l, at.Child("deviceClassName"), r.DeviceClassName, validate.LongName[string])
		wanted(l, r.Selectors, r.AllocationMode, r.Count, r.Tolerations, at)
	}
	unique(l, at, list, func(r *resourcev1.DeviceSubRequest) string { return r.Name })
}

// wanted checks what requests and their alternatives have in common.
func wanted(l *check.List, s []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode, count int64, t []resourcev1.DeviceToleration, at *field.Path) {
	selectors(l, s, at.Child("selectors"), false)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			l.Add(field.Invalid(at.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode)))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		l.Positive(at.Child("count"), count)
	default:
		check.OneOf(l, at.Child("allocationMode"), mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)
	}
	tolerations(l, t, at.Child("tolerations"))
}

// selectors checks and compiles expressions. Stored ones were compiled when they came, by the rules of then.
func selectors(l *check.List, list []resourcev1.DeviceSelector, at *field.Path, stored bool) {
	if !few(l, at, len(list), mostSelectors) {
		return
	}
	for i := range list {
		switch c := list[i].CEL; {
		case c == nil:
			l.Add(field.Required(at.Index(i).Child("cel"), ""))
		case !stored:
			expression(l, c.Expression, at.Index(i).Child("cel", "expression"))
		}
	}
}

func expression(l *check.List, text string, at *field.Path) {
	if len(text) > longestExpression {
		l.Add(field.TooLong(at, "", longestExpression))
		return
	}
	newest := environment.NewExpressions
	result := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).CompileCELExpression(text, dracel.Options{EnvType: &newest})
	if result.Error == nil {
		if result.MaxCost > costliestExpression {
			l.Add(field.Forbidden(at, "too complex, exceeds cost limit"))
		}
		return
	}
	var wrong *cel.Error
	switch {
	case !errors.As(result.Error, &wrong):
		l.Add(field.InternalError(at, fmt.Errorf("unsupported error type: %w", result.Error)))
	case wrong.Type == cel.ErrorTypeRequired:
		l.Add(field.Required(at, wrong.Detail))
	case wrong.Type == cel.ErrorTypeInvalid:
		l.Add(field.Invalid(at, text, wrong.Detail))
	default:
		l.Add(field.InternalError(at, wrong))
	}
}

func constraint(l *check.List, c *resourcev1.DeviceConstraint, names requests, at *field.Path) {
	names.references(l, at.Child("requests"), c.Requests)
	if c.MatchAttribute != nil {
		by(l, at.Child("matchAttribute"), *c.MatchAttribute, validate.ResourceFullyQualifiedName[resourcev1.FullyQualifiedName])
	}
	if c.DistinctAttribute != nil {
		by(l, at.Child("distinctAttribute"), *c.DistinctAttribute, validate.ResourceFullyQualifiedName[resourcev1.FullyQualifiedName])
	}
	if c.MatchAttribute == nil && c.DistinctAttribute == nil {
		l.Add(field.Required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
	}
}

func configuration(l *check.List, c *resourcev1.DeviceConfiguration, at *field.Path, stored bool) {
	at = at.Child("opaque")
	if c.Opaque == nil {
		l.Add(field.Required(at, ""))
		return
	}
	driverName(l, at.Child("driver"), c.Opaque.Driver)
	object(l, c.Opaque.Parameters, at.Child("parameters"), stored)
}

// object wants a JSON object, of at most so many bytes if it is new.
func object(l *check.List, raw runtime.RawExtension, at *field.Path, stored bool) {
	var v any
	if len(raw.Raw) == 0 {
		l.Add(field.Required(at, ""))
	} else if !stored && len(raw.Raw) > longestParameters {
		l.Add(field.TooLong(at, "", longestParameters))
	} else if err := json.Unmarshal(raw.Raw, &v); err != nil {
		l.Add(field.Invalid(at, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err)))
	} else if v == nil {
		l.Add(field.Required(at, ""))
	} else if _, ok := v.(map[string]any); !ok {
		l.Add(field.Invalid(at, "<value omitted>", "must be a valid JSON object"))
	}
}
