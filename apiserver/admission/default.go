package admission

import (
	"fmt"
	"slices"
)

// Default are the rules that are on unless a flag says otherwise, in upstream's order, which decides which of two
// refusals a client gets.
func Default(o *Objects) []Rule {
	return []Rule{
		NamespaceLifecycle(o), LimitRanger(o), ServiceAccount(o), NodeRestriction(o), TaintNodesByCondition(), PodSecurity(o),
		Priority(o), DefaultTolerationSeconds(), DefaultStorageClass(o), StorageObjectInUseProtection(),
		PersistentVolumeClaimResize(o), RuntimeClass(o), CertificateApproval(o), CertificateSigning(o), ClusterTrustBundleAttest(o),
		CertificateSubjectRestriction(), DefaultIngressClass(o), PodTopologyLabels(o), PodResizeValidator(o), ResourceQuota(o),
	}
}

// known are rules of upstream's that may be named in flags and that do nothing here beyond what is always done.
var known = []string{"NodeDeclaredFeatureValidator", "PodGroupProtection", "MutatingAdmissionPolicy", "MutatingAdmissionWebhook",
	"ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "AlwaysAdmit"}

// Choose applies the flags that turn rules on and off. last are rules that come behind all others but quota.
func Choose(o *Objects, enable, disable []string, last ...Rule) (Chain, error) {
	all := Default(o)
	// Quota charges for what nothing refuses any more.
	quota := len(all) - 1
	all = slices.Insert(all, quota, last...)
	names := func(list []Rule) (out []string) {
		for _, r := range list {
			out = append(out, r.Name)
		}
		return out
	}
	for _, name := range slices.Concat(enable, disable) {
		if !slices.Contains(slices.Concat(names(all), optional, known), name) {
			return nil, fmt.Errorf("there is no admission rule %q", name)
		}
	}
	var list, out Chain
	for _, name := range optional {
		if !slices.Contains(enable, name) {
			continue
		}
		rule, err := makeOptional(o, name)
		if err != nil {
			return nil, err
		}
		list = append(list, rule)
	}
	for _, r := range append(list, all...) {
		if !slices.Contains(disable, r.Name) {
			out = append(out, r)
		}
	}
	return out, nil
}
