package check

import (
	"fmt"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// KubernetesSigner says whether a signer's name is one that Kubernetes keeps for itself.
func KubernetesSigner(name string) bool {
	host, _, _ := strings.Cut(name, "/")
	return host == "kubernetes.io" || strings.HasSuffix(host, ".kubernetes.io")
}

// Signer complains about names that are not of the form domain/path. The longest path is a namespace's and an object's
// name with a dot between.
func (l *List) Signer(at *field.Path, name string) {
	if !l.Require(at, name) {
		return
	}
	parts := strings.Split(name, "/")
	if len(parts) != 2 {
		l.Add(field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"))
		return
	}
	domain, path := parts[0], parts[1]
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		l.Add(field.TooLong(at, "", validation.DNS1123SubdomainMaxLength))
	}
	l.signerLabels(at, domain, validation.IsDNS1123Label)
	if !strings.Contains(domain, ".") {
		l.Add(field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	l.signerLabels(at, path, validation.IsDNS1123Subdomain)
	longest := 2*validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 2
	if len(name) > longest {
		l.Add(field.TooLong(at, "", longest))
	}
}

// signerLabels complains about the first label of text that breaks the rule; more would say the same again.
func (l *List) signerLabels(at *field.Path, text string, rule func(string) []string) {
	for _, label := range strings.Split(text, ".") {
		messages := rule(label)
		for _, m := range messages {
			l.Add(field.Invalid(at, text, fmt.Sprintf("validating label %q: %s", label, m)))
		}
		if len(messages) > 0 {
			return
		}
	}
}

// BundleName is the rule for names of trust bundles: those of a signer begin with its name.
func BundleName(signer string) func(name string, prefix bool) []string {
	return func(name string, prefix bool) []string {
		if signer == "" {
			if strings.Contains(name, ":") {
				return []string{"ClusterTrustBundle without signer name must not have \":\" in its name"}
			}
			return apivalidation.NameIsDNSSubdomain(name, prefix)
		}
		must := strings.ReplaceAll(signer, "/", ":") + ":"
		rest, ok := strings.CutPrefix(name, must)
		if !ok {
			return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, must)}
		}
		return apivalidation.NameIsDNSSubdomain(rest, prefix)
	}
}

// BundleSigner is the signer that a bundle's name names; empty if none.
func BundleSigner(name string) string {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		return strings.ReplaceAll(name[:i], ":", "/")
	}
	return ""
}
