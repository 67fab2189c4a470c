package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// addressName: the name of an IPAddress is the address, in its one right form.
func addressName(name string, _ bool) []string {
	var out []string
	for _, e := range validation.IsValidIP(&field.Path{}, name) {
		out = append(out, e.Detail)
	}
	return out
}

func validateIPAddress(_ *kinds.Request, a *networkingv1.IPAddress) field.ErrorList {
	var l check.List
	parent(&l, a.Spec.ParentRef, specPath.Child("parentRef"), false)
	return l.ErrorList
}

// parent checks what an address is for. A change of it is refused as such, so that what it lacks is not said as well.
func parent(l *check.List, ref *networkingv1.ParentReference, at *field.Path, changed bool) {
	if ref == nil {
		l.Add(field.Required(at, ""))
		return
	}
	if ref.Group != "" {
		l.Subdomain(at.Child("group"), ref.Group)
	}
	if !changed || ref.Resource != "" {
		segment(l, at.Child("resource"), ref.Resource)
	}
	if !changed || ref.Name != "" {
		segment(l, at.Child("name"), ref.Name)
	}
	if ref.Namespace != "" {
		l.Rule(at.Child("namespace"), ref.Namespace, content.IsPathSegmentName)
	}
}

func validateIPAddressUpdate(_ *kinds.Request, a, old *networkingv1.IPAddress) field.ErrorList {
	l := check.List{ErrorList: kinds.ValidateMeta(a, kinds.Cluster, addressName)}
	at, changed := specPath.Child("parentRef"), !apiequality.Semantic.DeepEqual(a.Spec.ParentRef, old.Spec.ParentRef)
	parent(&l, a.Spec.ParentRef, at, changed)
	if changed {
		l.Fixed(at)
	}
	return l.ErrorList
}

var cidrsPath = specPath.Child("cidrs")

func validateServiceCIDR(_ *kinds.Request, c *networkingv1.ServiceCIDR) field.ErrorList {
	var l check.List
	ranges := c.Spec.CIDRs
	switch {
	case len(ranges) == 0:
		l.Add(field.Required(cidrsPath, "at least one CIDR required"))
		return l.ErrorList
	case len(ranges) > 2:
		l.Add(field.Invalid(cidrsPath, c.Spec, "may only hold up to 2 values"))
		return l.ErrorList
	}
	for i, r := range ranges {
		l.All(validation.IsValidCIDR(cidrsPath.Index(i), r))
	}
	if len(ranges) == 2 {
		family := utilnet.IPFamilyOfCIDRString(ranges[0])
		if family != utilnet.IPFamilyUnknown && family == utilnet.IPFamilyOfCIDRString(ranges[1]) {
			l.Add(field.Invalid(cidrsPath, ranges, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
		}
	}
	return l.ErrorList
}

// validateServiceCIDRUpdate: a range never changes; one of the other family may be added.
func validateServiceCIDRUpdate(req *kinds.Request, c, old *networkingv1.ServiceCIDR) field.ErrorList {
	var l check.List
	now, before := c.Spec.CIDRs, old.Spec.CIDRs
	grows := len(before) == 1 && len(now) == 2
	if len(now) != len(before) && !grows {
		l.Add(field.Invalid(cidrsPath, now, apivalidation.FieldImmutableErrorMsg))
		return l.ErrorList
	}
	for i := range before {
		if now[i] != before[i] {
			l.Add(field.Invalid(cidrsPath.Index(i), now[i], apivalidation.FieldImmutableErrorMsg))
		}
	}
	if grows {
		l.All(validateServiceCIDR(req, c))
	}
	return l.ErrorList
}
