package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

func familyOf(ip string) corev1.IPFamily {
	if utilnet.IsIPv6String(ip) {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func policyOf(s *corev1.Service) corev1.IPFamilyPolicy {
	if s.Spec.IPFamilyPolicy == nil {
		return ""
	}
	return *s.Spec.IPFamilyPolicy
}

// settled: a Service that prefers two families and got what there was keeps that, also when the cluster has changed.
func settled(s, old *corev1.Service) bool {
	prefer := func(s *corev1.Service) bool {
		return s.Spec.IPFamilyPolicy == nil || *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyPreferDualStack
	}
	return old != nil && s.Spec.IPFamilyPolicy != nil && s.Spec.Type == old.Spec.Type && !external(s) && prefer(s) && prefer(old) &&
		sameTexts(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && sameTexts(s.Spec.IPFamilies, old.Spec.IPFamilies)
}

// families settles which IP families a Service has: those asked for, those of the addresses asked for, or the cluster's
// first.
func (r *reservation) families(old *corev1.Service) error {
	s := r.service
	if external(s) || settled(s, old) {
		return nil
	}
	if s.Spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if old != nil && old.Spec.IPFamilyPolicy != nil {
			policy = *old.Spec.IPFamilyPolicy
		} else if s.Spec.ClusterIP == corev1.ClusterIPNone && len(s.Spec.Selector) == 0 {
			// Whoever writes the endpoints by hand decides about their families.
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		s.Spec.IPFamilyPolicy = &policy
	}
	if errs := validateAddresses(s, old); len(errs) > 0 {
		return r.invalid(errs)
	}
	var l check.List
	r.secondFamily(&l, old)
	for i, ip := range s.Spec.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			break
		}
		if i < len(s.Spec.IPFamilies) {
			continue
		}
		if f := familyOf(ip); !r.ips.Has(f) {
			l.Add(field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), s.Spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", f)))
		} else {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, f)
		}
	}
	if len(l.ErrorList) > 0 {
		return r.invalid(l.ErrorList)
	}
	single := policyOf(s) == corev1.IPFamilyPolicySingleStack
	if s.Spec.ClusterIP == corev1.ClusterIPNone && len(s.Spec.Selector) == 0 {
		if len(s.Spec.IPFamilies) == 0 {
			s.Spec.IPFamilies = r.ips.Families()[:1]
		}
		if len(s.Spec.IPFamilies) < 2 && !single {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, otherFamily(s.Spec.IPFamilies[0]))
		}
		return nil
	}
	r.known(&l)
	if len(l.ErrorList) > 0 {
		return r.invalid(l.ErrorList)
	}
	if len(s.Spec.IPFamilies) == 0 {
		s.Spec.IPFamilies = r.ips.Families()[:1]
	}
	if !single && len(s.Spec.IPFamilies) == 1 && len(r.ips.Families()) == 2 {
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, otherFamily(s.Spec.IPFamilies[0]))
	}
	return nil
}

// secondFamily: the second address is given up only by asking for a single one.
func (r *reservation) secondFamily(l *check.List, old *corev1.Service) {
	s := r.service
	at := field.NewPath("spec", "ipFamilyPolicy")
	single := policyOf(s) == corev1.IPFamilyPolicySingleStack
	if old != nil {
		switch {
		case single:
			if sameTexts(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && len(s.Spec.ClusterIPs) > 1 {
				s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1]
			}
			if sameTexts(s.Spec.IPFamilies, old.Spec.IPFamilies) && len(s.Spec.IPFamilies) > 1 {
				s.Spec.IPFamilies = s.Spec.IPFamilies[:1]
			}
		default:
			if reduced(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
				l.Add(field.Invalid(at, s.Spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
			}
			if reduced(s.Spec.IPFamilies, old.Spec.IPFamilies) {
				l.Add(field.Invalid(at, s.Spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
			}
		}
	}
	if single && len(s.Spec.ClusterIPs) == 2 {
		l.Add(field.Invalid(at, s.Spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
	}
	if single && len(s.Spec.IPFamilies) == 2 {
		l.Add(field.Invalid(at, s.Spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
	}
}

// reduced says whether a list lost its second entry.
func reduced[T ~string](now, before []T) bool {
	return len(now) == 1 && len(before) == 2 && now[0] == before[0]
}

// known: what is asked for must be there.
func (r *reservation) known(l *check.List) {
	s := r.service
	if policyOf(s) == corev1.IPFamilyPolicyRequireDualStack && len(r.ips.Families()) < 2 {
		l.Add(field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range s.Spec.IPFamilies {
		if !r.ips.Has(f) {
			l.Add(field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
}
