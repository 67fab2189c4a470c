package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var serviceSpec = field.NewPath("spec")

func validateNewService(_ *kinds.Request, s *corev1.Service) field.ErrorList {
	return validateService(s, nil)
}

func validateServiceUpdate(_ *kinds.Request, s, old *corev1.Service) field.ErrorList {
	var l check.List
	addressesStay(&l, s, old)
	familiesStay(&l, s, old)
	balancerClass(&l, s, old)
	if needsHealthCheck(old) && needsHealthCheck(s) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		l.Add(field.Forbidden(serviceSpec.Child("healthCheckNodePort"), "field is immutable"))
	}
	l.All(validateService(s, old))
	return l.ErrorList
}

func validateService(s, old *corev1.Service) field.ErrorList {
	var l check.List
	spec, at := &s.Spec, serviceSpec
	mode, hasMode := s.Annotations[corev1.AnnotationTopologyMode]
	hints, hasHints := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if hasMode && hasHints && mode != hints {
		l.Add(field.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), mode,
			fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints)))
	}
	if len(spec.Ports) == 0 && !headless(s) && !external(s) {
		l.Add(field.Required(at.Child("ports"), ""))
	}
	serviceType(&l, s)
	servicePortList(&l, s)
	if spec.Selector != nil {
		l.Labels(at.Child("selector"), spec.Selector)
	}
	affinity(&l, spec)
	l.All(validateAddresses(s, old))
	var before []string
	if old != nil {
		before = old.Spec.ExternalIPs
	}
	for i, ip := range spec.ExternalIPs {
		p := at.Child("externalIPs").Index(i)
		if errs := validation.IsValidIPForLegacyField(p, ip, true, before); len(errs) > 0 {
			l.All(errs)
		} else {
			endpointIP(&l, ip, p)
		}
	}
	check.RequiredOneOf(&l, at.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	portsOnce(&l, s)
	sourceRanges(&l, s, old)
	if balanced(s) && spec.AllocateLoadBalancerNodePorts == nil {
		l.Add(field.Required(field.NewPath("allocateLoadBalancerNodePorts"), ""))
	} else if !balanced(s) && spec.AllocateLoadBalancerNodePorts != nil {
		l.Add(field.Forbidden(at.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	}
	balancerClass(&l, s, nil)
	trafficPolicies(&l, s)
	return l.ErrorList
}

func serviceType(l *check.List, s *corev1.Service) {
	spec, at := &s.Spec, serviceSpec
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless(s) {
			l.Add(field.Invalid(at.Child("clusterIPs").Index(0), spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		const not = "may not be set for ExternalName services"
		if len(spec.ClusterIPs) > 0 {
			l.Add(field.Forbidden(at.Child("clusterIPs"), not))
		}
		if len(spec.IPFamilies) > 0 {
			l.Add(field.Forbidden(at.Child("ipFamilies"), not))
		}
		if spec.IPFamilyPolicy != nil {
			l.Add(field.Forbidden(at.Child("ipFamilyPolicy"), not))
		}
		if name := strings.TrimSuffix(spec.ExternalName, "."); l.Require(at.Child("externalName"), name) {
			l.Subdomain(at.Child("externalName"), name)
		}
	}
}

func servicePortList(l *check.List, s *corev1.Service) {
	names := sets.New[string]()
	for i := range s.Spec.Ports {
		p, at := &s.Spec.Ports[i], serviceSpec.Child("ports").Index(i)
		if p.Name == "" {
			if len(s.Spec.Ports) > 1 {
				l.Add(field.Required(at.Child("name"), ""))
			}
		} else {
			l.Label(at.Child("name"), p.Name)
			if names.Has(p.Name) {
				l.Add(field.Duplicate(at.Child("name"), p.Name))
			}
			names.Insert(p.Name)
		}
		l.Messages(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))
		check.RequiredOneOf(l, at.Child("protocol"), p.Protocol, check.Protocols...)
		if p.TargetPort.Type == intstr.Int {
			l.Messages(at.Child("targetPort"), p.TargetPort.IntValue(), validation.IsValidPortNum(p.TargetPort.IntValue()))
		} else {
			l.Rule(at.Child("targetPort"), p.TargetPort.StrVal, validation.IsValidPortName)
		}
		if p.AppProtocol != nil {
			l.Qualified(at.Child("appProtocol"), *p.AppProtocol)
		}
	}
}

func affinity(l *check.List, spec *corev1.ServiceSpec) {
	at := serviceSpec
	check.RequiredOneOf(l, at.Child("sessionAffinity"), spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	config, p := spec.SessionAffinityConfig, at.Child("sessionAffinityConfig")
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if config != nil {
			l.Add(field.Forbidden(p, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone)))
		}
	case corev1.ServiceAffinityClientIP:
		when := fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)
		switch {
		case config == nil:
			l.Add(field.Required(p, when))
		case config.ClientIP == nil:
			l.Add(field.Required(p.Child("clientIP"), when))
		case config.ClientIP.TimeoutSeconds == nil:
			l.Add(field.Required(p.Child("clientIP", "timeoutSeconds"), when))
		default:
			const day = 86400
			if n := *config.ClientIP.TimeoutSeconds; n <= 0 || n > day {
				l.Add(field.Invalid(p.Child("clientIP", "timeoutSeconds"), config.ClientIP.TimeoutSeconds, fmt.Sprintf("must be greater than 0 and less than %d", day)))
			}
		}
	}
}

// portsOnce: no two ports of a Service are the same, inside or on the nodes.
func portsOnce(l *check.List, s *corev1.Service) {
	at := serviceSpec.Child("ports")
	if s.Spec.Type == corev1.ServiceTypeClusterIP {
		for i, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				l.Add(field.Forbidden(at.Index(i).Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
			}
		}
	}
	onNode, inside := sets.New[corev1.ServicePort](), sets.New[corev1.ServicePort]()
	for i, p := range s.Spec.Ports {
		key := corev1.ServicePort{Protocol: p.Protocol, NodePort: p.NodePort}
		if p.NodePort == 0 {
			continue
		}
		if onNode.Has(key) {
			l.Add(field.Duplicate(at.Index(i).Child("nodePort"), p.NodePort))
		}
		onNode.Insert(key)
	}
	for i, p := range s.Spec.Ports {
		key := corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}
		if inside.Has(key) {
			l.Add(field.Duplicate(at.Index(i), key))
		}
		inside.Insert(key)
	}
}

func sourceRanges(l *check.List, s, old *corev1.Service) {
	const only = "may only be used when `type` is 'LoadBalancer'"
	if list := s.Spec.LoadBalancerSourceRanges; len(list) > 0 {
		at := serviceSpec.Child("LoadBalancerSourceRanges")
		if !balanced(s) {
			l.Add(field.Forbidden(at, only))
		}
		var before []string
		if old != nil {
			for _, r := range old.Spec.LoadBalancerSourceRanges {
				before = append(before, strings.TrimSpace(r))
			}
		}
		for i, r := range list {
			l.All(validation.IsValidCIDRForLegacyField(at.Index(i), strings.TrimSpace(r), true, before))
		}
		return
	}
	text, set := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if !set {
		return
	}
	at := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
	if !balanced(s) {
		l.Add(field.Forbidden(at, only))
	}
	if old != nil && old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] == text {
		return
	}
	if text = strings.TrimSpace(text); text != "" {
		for _, r := range strings.Split(text, ",") {
			l.All(validation.IsValidCIDRForLegacyField(at, strings.TrimSpace(r), true, nil))
		}
	}
}

func balancerClass(l *check.List, s, old *corev1.Service) {
	class, at := s.Spec.LoadBalancerClass, serviceSpec.Child("loadBalancerClass")
	if old != nil && balanced(old) && balanced(s) {
		if was := old.Spec.LoadBalancerClass; (was == nil) != (class == nil) || was != nil && *was != *class {
			l.Add(field.Invalid(at, class, "may not change once set"))
		}
	}
	switch {
	case class == nil:
	case balanced(s):
		l.Qualified(at, *class)
	default:
		l.Add(field.Forbidden(at, "may only be used when `type` is 'LoadBalancer'"))
	}
}

func trafficPolicies(l *check.List, s *corev1.Service) {
	spec, at := &s.Spec, serviceSpec
	if !reachableFromOutside(s) {
		if spec.ExternalTrafficPolicy != "" {
			l.Add(field.Invalid(at.Child("externalTrafficPolicy"), spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
		}
	} else {
		check.RequiredOneOf(l, at.Child("externalTrafficPolicy"), spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	}
	port := spec.HealthCheckNodePort
	switch {
	case !needsHealthCheck(s) && port != 0:
		l.Add(field.Invalid(at.Child("healthCheckNodePort"), port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	case needsHealthCheck(s) && port == 0:
		l.Add(field.Required(at.Child("healthCheckNodePort"), ""))
	case needsHealthCheck(s):
		l.Messages(at.Child("healthCheckNodePort"), port, validation.IsValidPortNum(int(port)))
	}
	if p := spec.InternalTrafficPolicy; p != nil {
		check.OneOf(l, at.Child("internalTrafficPolicy"), *p, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	} else if spec.Type == corev1.ServiceTypeClusterIP || hasNodePorts(s) {
		l.Add(field.Required(at.Child("internalTrafficPolicy"), ""))
	}
	if d := spec.TrafficDistribution; d != nil {
		check.OneOf(l, at.Child("trafficDistribution"), *d, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)
	}
}

// validateAddresses checks addresses and families against each other. It runs before addresses are reserved as well.
func validateAddresses(s, old *corev1.Service) field.ErrorList {
	if external(s) {
		return nil
	}
	var l check.List
	spec := &s.Spec
	ips, families := serviceSpec.Child("clusterIPs"), serviceSpec.Child("ipFamilies")
	switch {
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		l.Add(field.Required(ips, ""))
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		l.Add(field.Invalid(ips, spec.ClusterIPs, "first value must match `clusterIP`"))
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		l.Add(field.Invalid(ips, spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	}
	for i, f := range spec.IPFamilies {
		check.OneOf(&l, families.Index(i), f, corev1.IPv4Protocol, corev1.IPv6Protocol)
		if slices.Contains(spec.IPFamilies[:i], f) {
			l.Add(field.Duplicate(families.Index(i), f))
		}
	}
	if p := spec.IPFamilyPolicy; p != nil {
		check.OneOf(&l, serviceSpec.Child("ipFamilyPolicy"), *p, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
	}
	if clusterIPTexts(&l, s, old, ips) {
		return l.ErrorList
	}
	if len(spec.ClusterIPs) > 1 {
		dual, err := utilnet.IsDualStackIPStrings(spec.ClusterIPs)
		if err != nil {
			l.Add(field.InternalError(ips, fmt.Errorf("failed to check for dual stack with error:%v", err)))
		}
		if !dual {
			l.Add(field.Invalid(ips, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
		}
	}
	if headless(s) {
		return l.ErrorList
	}
	for i, ip := range spec.ClusterIPs {
		if i >= len(spec.IPFamilies) {
			break
		}
		if f := spec.IPFamilies[i]; (f == corev1.IPv4Protocol || f == corev1.IPv6Protocol) && f != familyOf(ip) {
			l.Add(field.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", f, i)))
		}
	}
	return l.ErrorList
}

// clusterIPTexts says whether one of the addresses is no address.
func clusterIPTexts(l *check.List, s, old *corev1.Service, at *field.Path) (bad bool) {
	list := s.Spec.ClusterIPs
	var before []string
	if old != nil {
		before = old.Spec.ClusterIPs
	}
	for i, ip := range list {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(list) > 1 {
				bad = true
				l.Add(field.Invalid(at, list, "'None' must be the first and only value"))
			}
			continue
		}
		errs := validation.IsValidIPForLegacyField(at.Index(i), ip, true, before)
		bad = bad || len(errs) > 0
		l.All(errs)
	}
	if len(list) > 2 {
		l.Add(field.Invalid(at, list, "may only hold up to 2 values"))
	}
	return bad
}

// addressesStay: the first address of a Service is its own for life; the second may come and go.
func addressesStay(l *check.List, s, old *corev1.Service) {
	if external(s) || external(old) || headless(s) && headless(old) {
		return
	}
	now, was := s.Spec.ClusterIPs, old.Spec.ClusterIPs
	at := serviceSpec.Child("clusterIPs")
	const stays = "may not change once set"
	switch {
	case len(now) == len(was):
		for i := range was {
			if was[i] != now[i] {
				l.Add(field.Invalid(at.Index(i), now, stays))
			}
		}
	case len(now) == 0:
		l.Add(field.Invalid(at.Index(0), now, "primary clusterIP can not be unset"))
	default:
		if len(was) > 0 && now[0] != was[0] {
			l.Add(field.Invalid(at.Index(0), now, stays))
		}
		if len(now) == 1 && len(was) > 1 && policyOf(s) != corev1.IPFamilyPolicySingleStack {
			l.Add(field.Invalid(serviceSpec.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary clusterIP"))
		}
	}
}

func familiesStay(l *check.List, s, old *corev1.Service) {
	if external(s) || external(old) || headless(s) {
		return
	}
	now, was := s.Spec.IPFamilies, old.Spec.IPFamilies
	at := serviceSpec.Child("ipFamilies").Index(0)
	const stays = "may not change once set"
	switch {
	case len(now) == len(was):
		for i := range was {
			if was[i] != now[i] {
				l.Add(field.Invalid(at, now, stays))
			}
		}
	case len(now) < len(was) && len(s.Spec.ClusterIPs) == 0:
		l.Add(field.Invalid(at, now, "primary ipFamily can not be unset"))
	default:
		if len(was) > 0 && len(now) > 0 && now[0] != was[0] {
			l.Add(field.Invalid(at, s.Spec.ClusterIPs, stays))
		}
		if len(now) == 1 && len(was) > 1 && policyOf(s) != corev1.IPFamilyPolicySingleStack {
			l.Add(field.Invalid(serviceSpec.Child("ipFamilyPolicy"), s.Spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary ipFamily"))
		}
	}
}

func validateServiceStatus(_ *kinds.Request, s, old *corev1.Service) field.ErrorList {
	var l check.List
	at := field.NewPath("status", "loadBalancer", "ingress")
	points := s.Status.LoadBalancer.Ingress
	if !balanced(s) {
		if len(points) > 0 {
			l.Add(field.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'"))
		}
		return l.ErrorList
	}
	var before []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			before = append(before, in.IP)
		}
	}
	for i, in := range points {
		p := at.Index(i)
		if in.IP != "" {
			l.All(validation.IsValidIPForLegacyField(p.Child("ip"), in.IP, true, before))
		}
		switch {
		case in.IPMode == nil && in.IP != "":
			l.Add(field.Required(p.Child("ipMode"), "must be specified when `ip` is set"))
		case in.IPMode != nil && in.IP == "":
			l.Add(field.Forbidden(p.Child("ipMode"), "may not be specified when `ip` is not set"))
		case in.IPMode != nil:
			check.OneOf(&l, p.Child("ipMode"), *in.IPMode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		}
		if in.Hostname != "" {
			l.Subdomain(p.Child("hostname"), in.Hostname)
			if utilnet.ParseIPSloppy(in.Hostname) != nil {
				l.Add(field.Invalid(p.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return l.ErrorList
}

// dropUseless: upstream shows no traffic policy of a Service without addresses, whatever its client says.
func dropUseless(_ *kinds.Request, s *corev1.Service) {
	p := s.Spec.InternalTrafficPolicy
	if external(s) && p != nil && (*p == corev1.ServiceInternalTrafficPolicyCluster || *p == corev1.ServiceInternalTrafficPolicyLocal) {
		s.Spec.InternalTrafficPolicy = nil
	}
}

// dropTypeDependent forgets what only the old type of a Service had, unless the client says it anew: who changes the type
// alone means that.
func dropTypeDependent(req *kinds.Request, s, old *corev1.Service) {
	dropUseless(req, s)
	if !external(old) && external(s) {
		if s.Spec.ClusterIP == old.Spec.ClusterIP && sameTexts(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil
		}
		if sameTexts(s.Spec.IPFamilies, old.Spec.IPFamilies) {
			s.Spec.IPFamilies = nil
		}
		if policyOf(s) == policyOf(old) {
			s.Spec.IPFamilyPolicy = nil
		}
	}
	if hasNodePorts(old) && !hasNodePorts(s) && sets.New(portNumbers(old)...).IsSuperset(sets.New(portNumbers(s)...)) {
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheck(old) && !needsHealthCheck(s) && s.Spec.HealthCheckNodePort == old.Spec.HealthCheckNodePort {
		s.Spec.HealthCheckNodePort = 0
	}
	if balanced(old) && !balanced(s) {
		if now, was := s.Spec.AllocateLoadBalancerNodePorts, old.Spec.AllocateLoadBalancerNodePorts; now != nil && was != nil && *now == *was {
			s.Spec.AllocateLoadBalancerNodePorts = nil
		}
		if now, was := s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass; now != nil && was != nil && *now == *was {
			s.Spec.LoadBalancerClass = nil
		}
	}
	if reachableFromOutside(old) && !reachableFromOutside(s) && s.Spec.ExternalTrafficPolicy == old.Spec.ExternalTrafficPolicy {
		s.Spec.ExternalTrafficPolicy = ""
	}
	if !balanced(s) {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}
