package networking

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// policyRules checks one policy. What the old policy had of bad label values and address ranges may stay.
type policyRules struct {
	check.List
	selectors metavalidation.LabelSelectorValidationOptions
	ranges    []string
}

func validateNewPolicy(_ *kinds.Request, p *networkingv1.NetworkPolicy) field.ErrorList {
	var r policyRules
	r.spec(&p.Spec)
	return r.ErrorList
}

func validatePolicyUpdate(_ *kinds.Request, p, old *networkingv1.NetworkPolicy) field.ErrorList {
	var r policyRules
	r.selectors.AllowInvalidLabelValueInSelector = len(metavalidation.ValidateLabelSelector(&old.Spec.PodSelector, r.selectors, nil)) > 0
	eachBlock(&old.Spec, func(b *networkingv1.IPBlock, _ *field.Path) {
		r.ranges = append(append(r.ranges, b.CIDR), b.Except...)
	})
	r.spec(&p.Spec)
	return r.ErrorList
}

func (r *policyRules) spec(spec *networkingv1.NetworkPolicySpec) {
	r.selector(&spec.PodSelector, specPath.Child("podSelector"))
	for i := range spec.Ingress {
		at := specPath.Child("ingress").Index(i)
		r.ports(spec.Ingress[i].Ports, at.Child("ports"))
		r.peers(spec.Ingress[i].From, at.Child("from"))
	}
	for i := range spec.Egress {
		at := specPath.Child("egress").Index(i)
		r.ports(spec.Egress[i].Ports, at.Child("ports"))
		r.peers(spec.Egress[i].To, at.Child("to"))
	}
	types := specPath.Child("policyTypes")
	if len(spec.PolicyTypes) > 2 {
		r.Add(field.Invalid(types, spec.PolicyTypes, "may not specify more than two policyTypes"))
		return
	}
	for i, t := range spec.PolicyTypes {
		check.OneOf(&r.List, types.Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	}
}

func (r *policyRules) selector(s *metav1.LabelSelector, at *field.Path) {
	r.All(metavalidation.ValidateLabelSelector(s, r.selectors, at))
}

func (r *policyRules) ports(ports []networkingv1.NetworkPolicyPort, at *field.Path) {
	for i := range ports {
		p, at := &ports[i], at.Index(i)
		if p.Protocol != nil {
			check.OneOf(&r.List, at.Child("protocol"), *p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
		switch {
		case p.Port == nil:
			r.noEnd(p, at, "may not be specified when `port` is not specified")
		case p.Port.Type == intstr.String:
			r.noEnd(p, at, "may not be specified when `port` is non-numeric")
			r.Rule(at.Child("port"), p.Port.StrVal, validation.IsValidPortName)
		default:
			r.Messages(at.Child("port"), p.Port.IntVal, validation.IsValidPortNum(int(p.Port.IntVal)))
			if p.EndPort == nil {
				continue
			}
			if *p.EndPort < p.Port.IntVal {
				r.Add(field.Invalid(at.Child("endPort"), *p.EndPort, "must be greater than or equal to `port`"))
			}
			r.Messages(at.Child("endPort"), *p.EndPort, validation.IsValidPortNum(int(*p.EndPort)))
		}
	}
}

func (r *policyRules) noEnd(p *networkingv1.NetworkPolicyPort, at *field.Path, why string) {
	if p.EndPort != nil {
		r.Add(field.Invalid(at.Child("endPort"), *p.EndPort, why))
	}
}

func (r *policyRules) peers(peers []networkingv1.NetworkPolicyPeer, at *field.Path) {
	for i := range peers {
		p, at := &peers[i], at.Index(i)
		if p.PodSelector != nil {
			r.selector(p.PodSelector, at.Child("podSelector"))
		}
		if p.NamespaceSelector != nil {
			r.selector(p.NamespaceSelector, at.Child("namespaceSelector"))
		}
		selects := p.PodSelector != nil || p.NamespaceSelector != nil
		switch {
		case p.IPBlock == nil && !selects:
			r.Add(field.Required(at, "must specify a peer"))
		case p.IPBlock != nil:
			r.block(p.IPBlock, at.Child("ipBlock"))
			if selects {
				r.Add(field.Forbidden(at, "may not specify both ipBlock and another peer"))
			}
		}
	}
}

func (r *policyRules) block(b *networkingv1.IPBlock, at *field.Path) {
	if !r.Require(at.Child("cidr"), b.CIDR) {
		return
	}
	r.All(validation.IsValidCIDRForLegacyField(at.Child("cidr"), b.CIDR, true, r.ranges))
	_, whole, err := utilnet.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return
	}
	for i, except := range b.Except {
		at := at.Child("except").Index(i)
		r.All(validation.IsValidCIDRForLegacyField(at, except, true, r.ranges))
		_, part, err := utilnet.ParseCIDRSloppy(except)
		if err != nil {
			continue
		}
		wholeBits, _ := whole.Mask.Size()
		partBits, _ := part.Mask.Size()
		if !whole.Contains(part.IP) || wholeBits >= partBits {
			r.Add(field.Invalid(at, except, "must be a strict subset of `cidr`"))
		}
	}
}

// eachBlock visits the address ranges of a policy.
func eachBlock(spec *networkingv1.NetworkPolicySpec, visit func(*networkingv1.IPBlock, *field.Path)) {
	peers := func(peers []networkingv1.NetworkPolicyPeer, at *field.Path) {
		for i := range peers {
			if b := peers[i].IPBlock; b != nil {
				visit(b, at.Index(i).Child("ipBlock"))
			}
		}
	}
	for i := range spec.Ingress {
		peers(spec.Ingress[i].From, specPath.Child("ingress").Index(i).Child("from"))
	}
	for i := range spec.Egress {
		peers(spec.Egress[i].To, specPath.Child("egress").Index(i).Child("to"))
	}
}

func policyWarnings(_ *kinds.Request, p, _ *networkingv1.NetworkPolicy) []string {
	var out []string
	eachBlock(&p.Spec, func(b *networkingv1.IPBlock, at *field.Path) {
		out = append(out, validation.GetWarningsForCIDR(at.Child("cidr"), b.CIDR)...)
		for i, except := range b.Except {
			out = append(out, validation.GetWarningsForCIDR(at.Child("except").Index(i), except)...)
		}
	})
	return out
}
