package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

func validateLimitRange(_ *kinds.Request, r *corev1.LimitRange) field.ErrorList {
	var l check.List
	types := sets.New[corev1.LimitType]()
	for i := range r.Spec.Limits {
		item, at := &r.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		limitType(&l, item.Type, at.Child("type"))
		if types.Has(item.Type) {
			l.Add(field.Duplicate(at.Child("type"), item.Type))
		}
		types.Insert(item.Type)
		limitItem(&l, item, at)
	}
	return l.ErrorList
}

func limitType(l *check.List, t corev1.LimitType, at *field.Path) {
	if m := validation.IsQualifiedName(string(t)); len(m) > 0 {
		l.Messages(at, t, m)
		return
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
	default:
		if !strings.Contains(string(t), "/") {
			l.Add(field.Invalid(at, t, "must be a standard limit type or fully qualified"))
		}
	}
}

func limitItem(l *check.List, item *corev1.LimitRangeItem, at *field.Path) {
	names := sets.New[corev1.ResourceName]()
	list := func(name string, list corev1.ResourceList) {
		for _, r := range slices.Sorted(maps.Keys(list)) {
			p := at.Child(name).Key(string(r))
			if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
				podspec.ContainerResourceName(l, r, p)
			} else {
				podspec.ResourceName(l, r, p)
			}
			names.Insert(r)
		}
	}
	list("max", item.Max)
	list("min", item.Min)
	defaults, requests := item.Default, item.DefaultRequest
	if item.Type == corev1.LimitTypePod {
		if len(defaults) > 0 {
			l.Add(field.Forbidden(at.Child("default"), "may not be specified when `type` is 'Pod'"))
		}
		if len(requests) > 0 {
			l.Add(field.Forbidden(at.Child("defaultRequest"), "may not be specified when `type` is 'Pod'"))
		}
		defaults, requests = nil, nil
	}
	list("default", defaults)
	list("defaultRequest", requests)
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := item.Min[corev1.ResourceStorage]
		_, most := item.Max[corev1.ResourceStorage]
		if !least && !most {
			l.Add(field.Required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	list("maxLimitRequestRatio", item.MaxLimitRequestRatio)
	for _, r := range sets.List(names) {
		limitOrder(l, item, defaults, requests, r, at)
	}
}

// limitOrder: the least is not above the default request, that not above the default, and that not above the most.
func limitOrder(l *check.List, item *corev1.LimitRangeItem, defaults, requests corev1.ResourceList, r corev1.ResourceName, at *field.Path) {
	least, hasLeast := item.Min[r]
	most, hasMost := item.Max[r]
	limit, hasLimit := defaults[r]
	request, hasRequest := requests[r]
	ratio, hasRatio := item.MaxLimitRequestRatio[r]
	key := string(r)
	above := func(when bool, a resource.Quantity, an string, b resource.Quantity, bn, child string, shown resource.Quantity) {
		if when && a.Cmp(b) > 0 {
			l.Add(field.Invalid(at.Child(child).Key(key), shown, fmt.Sprintf("%s value %s is greater than %s value %s", an, a.String(), bn, b.String())))
		}
	}
	above(hasLeast && hasMost, least, "min", most, "max", "min", least)
	above(hasRequest && hasLeast, least, "min", request, "default request", "defaultRequest", request)
	above(hasRequest && hasMost, request, "default request", most, "max", "defaultRequest", request)
	above(hasRequest && hasLimit, request, "default request", limit, "default limit", "defaultRequest", request)
	above(hasLimit && hasLeast, least, "min", limit, "default", "default", least)
	above(hasLimit && hasMost, limit, "default", most, "max", "default", most)
	if hasRatio {
		p := at.Child("maxLimitRequestRatio").Key(key)
		if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
			l.Add(field.Invalid(p, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String())))
		}
		if hasLeast && hasMost {
			value, limit := ratioOf(ratio, most, least)
			if value > limit {
				l.Add(field.Invalid(p, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), limit)))
			}
		}
	}
	if !podspec.Overcommittable(r) && hasLimit && hasRequest && limit.Cmp(request) != 0 {
		l.Add(field.Invalid(at.Child("defaultRequest").Key(key), request, fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), key)))
	}
}

// ratioOf is the ratio that is asked for, and that which the bounds allow, in thousandths where the numbers are small.
func ratioOf(ratio, most, least resource.Quantity) (value, limit float64) {
	value = float64(ratio.Value())
	a, b := most.Value(), least.Value()
	if ratio.Value() < resource.MaxMilliValue && a < resource.MaxMilliValue && b < resource.MaxMilliValue {
		value = float64(ratio.MilliValue()) / 1000
		a, b = most.MilliValue(), least.MilliValue()
	}
	return value, float64(a) / float64(b)
}

var (
	quotaSpec   = field.NewPath("spec")
	quotaStatus = field.NewPath("status")
)

func validateResourceQuota(_ *kinds.Request, q *corev1.ResourceQuota) field.ErrorList {
	var l check.List
	quotaResources(&l, q.Spec.Hard, quotaSpec.Child("hard"))
	quotaScopes(&l, &q.Spec)
	if q.Spec.ScopeSelector != nil {
		quotaSelector(&l, &q.Spec)
	}
	return l.ErrorList
}

func validateResourceQuotaUpdate(req *kinds.Request, q, old *corev1.ResourceQuota) field.ErrorList {
	l := check.List{ErrorList: validateResourceQuota(req, q)}
	if !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		l.Add(field.Invalid(quotaSpec.Child("scopes"), q.Spec.Scopes, "field is immutable"))
	}
	return l.ErrorList
}

func validateResourceQuotaStatus(_ *kinds.Request, q, _ *corev1.ResourceQuota) field.ErrorList {
	var l check.List
	if q.ResourceVersion == "" {
		l.Add(field.Required(field.NewPath("resourceVersion"), ""))
	}
	quotaResources(&l, q.Status.Hard, quotaStatus.Child("hard"))
	quotaResources(&l, q.Status.Used, quotaStatus.Child("used"))
	return l.ErrorList
}

// quotaResource says whether a resource without a domain can be bounded.
func quotaResource(name corev1.ResourceName) bool {
	return podspec.Standard(name) && name != corev1.ResourceStorage
}

func quotaResources(l *check.List, list corev1.ResourceList, at *field.Path) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		p := at.Key(string(name))
		podspec.ResourceName(l, name, p)
		if !strings.Contains(string(name), "/") && !quotaResource(name) {
			l.Add(field.Invalid(p, name, "must be a standard resource for quota"))
		}
		podspec.Quantity(l, name, list[name], p)
	}
}

var (
	podScopes = sets.New(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
		corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeCrossNamespacePodAffinity)
	allScopes   = podScopes.Union(sets.New(corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass))
	podCompute  = sets.New(corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory)
	claimScoped = sets.New(corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage)
)

// scopeCovers says whether a scope can narrow down a resource.
func scopeCovers(scope corev1.ResourceQuotaScope, r corev1.ResourceName) bool {
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return podCompute.Has(r)
	case corev1.ResourceQuotaScopeBestEffort:
		return r == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return claimScoped.Has(r)
	}
	return true
}

func scopeFits(l *check.List, scope corev1.ResourceQuotaScope, hard corev1.ResourceList, at *field.Path, shown any) {
	for _, r := range slices.Sorted(maps.Keys(hard)) {
		if quotaResource(r) && !scopeCovers(scope, r) {
			l.Add(field.Invalid(at, shown, "unsupported scope applied to resource"))
		}
	}
}

func scopesAgree(l *check.List, scopes sets.Set[corev1.ResourceQuotaScope], at *field.Path, shown any) {
	if scopes.HasAll(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort) {
		l.Add(field.Invalid(at, shown, "conflicting scopes"))
	}
	if scopes.HasAll(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating) {
		l.Add(field.Invalid(at, shown, "conflicting scopes"))
	}
}

func quotaScopes(l *check.List, spec *corev1.ResourceQuotaSpec) {
	at := quotaSpec.Child("scopes")
	for _, s := range spec.Scopes {
		if !allScopes.Has(s) {
			l.Add(field.Invalid(at, spec.Scopes, "unsupported scope"))
		}
		scopeFits(l, s, spec.Hard, at, spec.Scopes)
	}
	scopesAgree(l, sets.New(spec.Scopes...), at, spec.Scopes)
}

func quotaSelector(l *check.List, spec *corev1.ResourceQuotaSpec) {
	at := quotaSpec.Child("scopeSelector", "matchExpressions")
	scopes := sets.New[corev1.ResourceQuotaScope]()
	for _, e := range spec.ScopeSelector.MatchExpressions {
		if !allScopes.Has(e.ScopeName) {
			l.Add(field.Invalid(at.Child("scopeName"), e.ScopeName, "unsupported scope"))
		}
		scopeFits(l, e.ScopeName, spec.Hard, at, spec.ScopeSelector)
		if podScopes.Has(e.ScopeName) && e.Operator != corev1.ScopeSelectorOpExists {
			l.Add(field.Invalid(at.Child("operator"), e.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
		}
		switch e.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(e.Values) == 0 {
				l.Add(field.Required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(e.Values) > 0 {
				l.Add(field.Invalid(at.Child("values"), e.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			l.Add(field.Invalid(at.Child("operator"), e.Operator, "not a valid selector operator"))
		}
		scopes.Insert(e.ScopeName)
	}
	scopesAgree(l, scopes, at, spec.Scopes)
}
