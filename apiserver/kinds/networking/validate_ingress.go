package networking

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// classAnnotation chose the class of an Ingress before there was a field for it.
const classAnnotation = "kubernetes.io/ingress.class"

var specPath = field.NewPath("spec")

// leniency is what an Ingress may keep because an older server took it.
type leniency struct{ secretNames, wildcardRules bool }

func validateNewIngress(_ *kinds.Request, i *networkingv1.Ingress) field.ErrorList {
	var l check.List
	ingressSpec(&l, &i.Spec, leniency{})
	if class, has := i.Annotations[classAnnotation]; has && i.Spec.IngressClassName != nil && class != *i.Spec.IngressClassName {
		l.Add(field.Invalid(field.NewPath("annotations").Child(classAnnotation), class, "must match `ingressClassName` when both are specified"))
	}
	return l.ErrorList
}

func validateIngressUpdate(_ *kinds.Request, i, old *networkingv1.Ingress) field.ErrorList {
	var may leniency
	for _, t := range old.Spec.TLS {
		if t.SecretName != "" && len(apivalidation.NameIsDNSSubdomain(t.SecretName, false)) > 0 {
			may.secretNames = true
		}
	}
	for _, r := range old.Spec.Rules {
		var l check.List
		ingressPaths(&l, r.HTTP, nil)
		if strings.Contains(r.Host, "*") && len(l.ErrorList) > 0 {
			may.wildcardRules = true
		}
	}
	l := check.List{ErrorList: kinds.ValidateMeta(i, kinds.Namespaced, kinds.Subdomain)}
	ingressSpec(&l, &i.Spec, may)
	return l.ErrorList
}

func ingressSpec(l *check.List, spec *networkingv1.IngressSpec, may leniency) {
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		l.Add(field.Invalid(specPath, spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if spec.DefaultBackend != nil {
		ingressBackend(l, spec.DefaultBackend, specPath.Child("defaultBackend"))
	}
	for n := range spec.Rules {
		ingressRule(l, &spec.Rules[n], specPath.Child("rules").Index(n), may)
	}
	for n := range spec.TLS {
		at := specPath.Child("tls").Index(n)
		for h, host := range spec.TLS[n].Hosts {
			ingressHost(l, host, at.Child("hosts").Index(h))
		}
		if name := spec.TLS[n].SecretName; name != "" && !may.secretNames {
			l.Name(at.Child("secretName"), name, apivalidation.NameIsDNSSubdomain)
		}
	}
	if spec.IngressClassName != nil {
		l.Name(specPath.Child("ingressClassName"), *spec.IngressClassName, apivalidation.NameIsDNSSubdomain)
	}
}

func ingressHost(l *check.List, host string, at *field.Path) {
	if strings.Contains(host, "*") {
		l.Rule(at, host, validation.IsWildcardDNS1123Subdomain)
		return
	}
	l.Subdomain(at, host)
}

func ingressRule(l *check.List, r *networkingv1.IngressRule, at *field.Path, may leniency) {
	if r.Host != "" {
		if utilnet.ParseIPSloppy(r.Host) != nil {
			l.Add(field.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address"))
		}
		ingressHost(l, r.Host, at.Child("host"))
	}
	if !strings.Contains(r.Host, "*") || !may.wildcardRules {
		ingressPaths(l, r.HTTP, at.Child("http"))
	}
}

func ingressPaths(l *check.List, http *networkingv1.HTTPIngressRuleValue, at *field.Path) {
	if http == nil {
		return
	}
	if len(http.Paths) == 0 {
		l.Add(field.Required(at.Child("paths"), ""))
	}
	for i := range http.Paths {
		p, at := &http.Paths[i], at.Child("paths").Index(i)
		if p.PathType == nil {
			l.Add(field.Required(at.Child("pathType"), "pathType must be specified"))
			continue
		}
		ingressPath(l, p, at)
		ingressBackend(l, &p.Backend, at.Child("backend"))
	}
}

func ingressPath(l *check.List, p *networkingv1.HTTPIngressPath, at *field.Path) {
	path := at.Child("path")
	absolute := func() {
		if !strings.HasPrefix(p.Path, "/") {
			l.Add(field.Invalid(path, p.Path, "must be an absolute path"))
		}
	}
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		absolute()
		// What a proxy would resolve before it compares can never match.
		for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, part) {
				l.Add(field.Invalid(path, p.Path, fmt.Sprintf("must not contain '%s'", part)))
			}
		}
		for _, end := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, end) {
				l.Add(field.Invalid(path, p.Path, fmt.Sprintf("cannot end with '%s'", end)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" {
			absolute()
		}
	default:
		check.OneOf(l, at.Child("pathType"), *p.PathType, networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	}
}

func ingressBackend(l *check.List, b *networkingv1.IngressBackend, at *field.Path) {
	switch {
	case b.Resource != nil && b.Service != nil:
		l.Add(field.Invalid(at, "", "cannot set both resource and service backends"))
	case b.Resource != nil:
		typedReference(l, b.Resource, at.Child("resource"))
	case b.Service != nil:
		serviceBackend(l, b.Service, at)
	default:
		l.Add(field.Invalid(at, "", "resource or service backend is required"))
	}
}

func serviceBackend(l *check.List, s *networkingv1.IngressServiceBackend, at *field.Path) {
	if name := at.Child("service", "name"); l.Require(name, s.Name) {
		l.Name(name, s.Name, apivalidation.NameIsDNSLabel)
	}
	port := at.Child("service", "port")
	switch {
	case s.Port.Name != "" && s.Port.Number != 0:
		l.Add(field.Invalid(at, "", "cannot set both port name & port number"))
	case s.Port.Name != "":
		l.Rule(port.Child("name"), s.Port.Name, validation.IsValidPortName)
	case s.Port.Number != 0:
		l.Messages(port.Child("number"), s.Port.Number, validation.IsValidPortNum(int(s.Port.Number)))
	default:
		l.Add(field.Required(at, "port name or number is required"))
	}
}

func typedReference(l *check.List, r *corev1.TypedLocalObjectReference, at *field.Path) {
	reference(l, r.APIGroup, r.Kind, r.Name, at)
}

// reference checks what all references to an object of any kind have.
func reference(l *check.List, group *string, kind, name string, at *field.Path) {
	if group != nil {
		l.Subdomain(at.Child("apiGroup"), *group)
	}
	segment(l, at.Child("kind"), kind)
	segment(l, at.Child("name"), name)
}

// segment wants what fits between the slashes of a path.
func segment(l *check.List, at *field.Path, text string) {
	if l.Require(at, text) {
		l.Rule(at, text, content.IsPathSegmentName)
	}
}

func validateIngressStatus(_ *kinds.Request, i, old *networkingv1.Ingress) field.ErrorList {
	var l check.List
	// Addresses that an older server took may stay.
	var known []string
	for _, p := range old.Status.LoadBalancer.Ingress {
		if p.IP != "" {
			known = append(known, p.IP)
		}
	}
	for n, p := range i.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(n)
		if p.IP != "" {
			l.All(validation.IsValidIPForLegacyField(at.Child("ip"), p.IP, true, known))
		}
		if p.Hostname != "" {
			l.Subdomain(at.Child("hostname"), p.Hostname)
			if utilnet.ParseIPSloppy(p.Hostname) != nil {
				l.Add(field.Invalid(at.Child("hostname"), p.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return l.ErrorList
}

func ingressWarnings(_ *kinds.Request, i, old *networkingv1.Ingress) []string {
	if _, has := i.Annotations[classAnnotation]; old == nil && has && i.Spec.IngressClassName == nil {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
	}
	return nil
}

func ingressStatusWarnings(_ *kinds.Request, i, _ *networkingv1.Ingress) []string {
	var out []string
	for n, p := range i.Status.LoadBalancer.Ingress {
		if p.IP != "" {
			out = append(out, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(n), p.IP)...)
		}
	}
	return out
}

// longestController is upstream's limit for the name of an ingress controller.
const longestController = 250

func validateIngressClass(_ *kinds.Request, c *networkingv1.IngressClass) field.ErrorList {
	var l check.List
	at := specPath.Child("controller")
	if len(c.Spec.Controller) > longestController {
		l.Add(field.TooLong(at, "", longestController))
	}
	l.All(validation.IsDomainPrefixedPath(at, c.Spec.Controller))
	if p := c.Spec.Parameters; p != nil {
		classParameters(&l, p, specPath.Child("parameters"))
	}
	return l.ErrorList
}

func classParameters(l *check.List, p *networkingv1.IngressClassParametersReference, at *field.Path) {
	reference(l, p.APIGroup, p.Kind, p.Name, at)
	if p.Scope == nil {
		l.Add(field.Required(at.Child("scope"), ""))
		return
	}
	namespace := at.Child("namespace")
	switch *p.Scope {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if p.Namespace == nil {
			l.Add(field.Required(namespace, "`parameters.scope` is set to 'Namespace'"))
		} else {
			l.Name(namespace, *p.Namespace, apivalidation.ValidateNamespaceName)
		}
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if p.Namespace != nil {
			l.Add(field.Forbidden(namespace, "`parameters.scope` is set to 'Cluster'"))
		}
	default:
		check.OneOf(l, at.Child("scope"), *p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
	}
}

func validateIngressClassUpdate(_ *kinds.Request, c, old *networkingv1.IngressClass) field.ErrorList {
	var l check.List
	l.Immutable(specPath.Child("controller"), c.Spec.Controller, old.Spec.Controller)
	return l.ErrorList
}
