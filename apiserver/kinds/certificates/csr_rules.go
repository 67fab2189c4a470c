package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"reflect"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

type csr = *certificatesv1.CertificateSigningRequest

// prepareCSR writes down who asks: signers trust these fields, so a client never sets them.
func prepareCSR(req *kinds.Request, c csr) {
	c.Spec.Username, c.Spec.UID, c.Spec.Groups = req.User.Name, req.User.UID, append([]string(nil), req.User.Groups...)
	c.Spec.Extra = nil
	for key, values := range req.User.Extra {
		if c.Spec.Extra == nil {
			c.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		c.Spec.Extra[key] = append(certificatesv1.ExtraValue(nil), values...)
	}
	c.Status = certificatesv1.CertificateSigningRequestStatus{}
}

// keepSpec: what was asked for never changes.
func keepSpec(_ *kinds.Request, c, old csr) { c.Spec = old.Spec }

var knownUsages = func() map[certificatesv1.KeyUsage]bool {
	out := map[certificatesv1.KeyUsage]bool{}
	for _, u := range []certificatesv1.KeyUsage{
		certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
		certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
		certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
		certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
	} {
		out[u] = true
	}
	return out
}()

func validateCSR(_ *kinds.Request, c csr) field.ErrorList {
	errs := validateCSRMeta(c)
	spec := field.NewPath("spec")
	if _, err := parseRequest(c.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(spec.Child("request"), c.Spec.Request, fmt.Sprintf("%v", err)))
	}
	usages := spec.Child("usages")
	if len(c.Spec.Usages) == 0 {
		errs = append(errs, field.Required(usages, ""))
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for i, u := range c.Spec.Usages {
		if !knownUsages[u] {
			errs = append(errs, field.NotSupported(usages.Index(i), u, sortedUsages()))
		}
		if seen[u] {
			errs = append(errs, field.Duplicate(usages.Index(i), u))
		}
		seen[u] = true
	}
	switch c.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName:
	case "kubernetes.io/legacy-unknown":
		errs = append(errs, field.Invalid(spec.Child("signerName"), c.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	default:
		errs = append(errs, validateSignerName(spec.Child("signerName"), c.Spec.SignerName)...)
	}
	if s := c.Spec.ExpirationSeconds; s != nil && *s < 600 {
		errs = append(errs, field.Invalid(spec.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

func sortedUsages() []string {
	var out []string
	for u := range knownUsages {
		out = append(out, string(u))
	}
	slices.Sort(out)
	return out
}

// validateCSRMeta: any name will do that can stand in a path.
func validateCSRMeta(c csr) field.ErrorList {
	return apivalidation.ValidateObjectMeta(&c.ObjectMeta, false, func(string, bool) []string { return nil }, field.NewPath("metadata"))
}

func parseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// validateSignerName checks "domain/path" names.
func validateSignerName(at *field.Path, name string) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		return append(errs, field.Required(at, ""))
	}
	segments := strings.Split(name, "/")
	if len(segments) != 2 {
		return append(errs, field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'"))
	}
	for _, m := range utilvalidation.IsDNS1123Subdomain(segments[0]) {
		errs = append(errs, field.Invalid(at, segments[0], fmt.Sprintf("validating namespace segment: %s", m)))
	}
	if !strings.Contains(segments[0], ".") {
		errs = append(errs, field.Invalid(at, segments[0], "should be a domain with at least two segments separated by dots"))
	}
	for _, m := range utilvalidation.IsDNS1123Subdomain(segments[1]) {
		errs = append(errs, field.Invalid(at, segments[1], fmt.Sprintf("validating name segment: %s", m)))
	}
	if len(name) > 571 {
		errs = append(errs, field.TooLong(at, name, 571))
	}
	return errs
}

func validateCSRUpdate(_ *kinds.Request, c, old csr) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	return append(errs, unchanged(c, old, certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed)...)
}

// validateApproval lets conditions come: a decision once made stays.
func validateApproval(_ *kinds.Request, c, old csr) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	errs = append(errs, unchanged(c, old, certificatesv1.CertificateFailed)...)
	errs = append(errs, removed(c, old)...)
	return append(errs, validateConditions(c)...)
}

func validateCSRStatus(_ *kinds.Request, c, old csr) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta, field.NewPath("metadata"))
	errs = append(errs, unchanged(c, old, certificatesv1.CertificateApproved, certificatesv1.CertificateDenied)...)
	errs = append(errs, removed(c, old)...)
	errs = append(errs, validateConditions(c)...)
	at := field.NewPath("status", "certificate")
	if len(old.Status.Certificate) > 0 && string(old.Status.Certificate) != string(c.Status.Certificate) {
		errs = append(errs, field.Forbidden(at, "updates may not set the status.certificate field once it is set"))
	}
	if len(c.Status.Certificate) > 0 {
		if err := parseChain(c.Status.Certificate); err != nil {
			errs = append(errs, field.Invalid(at, "<certificate data>", err.Error()))
		}
	}
	return errs
}

func parseChain(text []byte) error {
	found := false
	for len(text) > 0 {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return fmt.Errorf("no PEM block headers are permitted")
		}
		if _, err := x509.ParseCertificates(block.Bytes); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// unchanged refuses conditions of the given types that this door may not touch.
func unchanged(c, old csr, types ...certificatesv1.RequestConditionType) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status", "conditions")
	for _, t := range types {
		now, before := conditionsOf(c, t), conditionsOf(old, t)
		switch {
		case len(now) < len(before):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not remove a condition of type %q", t)))
		case len(now) > len(before):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not add a condition of type %q", t)))
		case !reflect.DeepEqual(now, before):
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("updates may not modify a condition of type %q", t)))
		}
	}
	return errs
}

// removed refuses that a decision is taken back.
func removed(c, old csr) field.ErrorList {
	var errs field.ErrorList
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if len(conditionsOf(c, t)) < len(conditionsOf(old, t)) {
			errs = append(errs, field.Forbidden(field.NewPath("status", "conditions"), fmt.Sprintf("updates may not remove a condition of type %q", t)))
		}
	}
	return errs
}

func conditionsOf(c csr, t certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, cond := range c.Status.Conditions {
		if cond.Type == t {
			out = append(out, cond)
		}
	}
	return out
}

func validateConditions(c csr) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status", "conditions")
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, cond := range c.Status.Conditions {
		if cond.Type == "" {
			errs = append(errs, field.Required(at.Index(i).Child("type"), ""))
		}
		if seen[cond.Type] {
			errs = append(errs, field.Duplicate(at.Index(i).Child("type"), cond.Type))
		}
		seen[cond.Type] = true
		decisive := cond.Type == certificatesv1.CertificateApproved || cond.Type == certificatesv1.CertificateDenied || cond.Type == certificatesv1.CertificateFailed
		status := at.Index(i).Child("status")
		switch cond.Status {
		case "":
			errs = append(errs, field.Required(status, ""))
		case corev1.ConditionTrue:
		case corev1.ConditionFalse, corev1.ConditionUnknown:
			if decisive {
				errs = append(errs, field.NotSupported(status, cond.Status, []string{string(corev1.ConditionTrue)}))
			}
		default:
			known := []string{string(corev1.ConditionTrue), string(corev1.ConditionFalse), string(corev1.ConditionUnknown)}
			if decisive {
				known = known[:1]
			}
			errs = append(errs, field.NotSupported(status, cond.Status, known))
		}
	}
	if seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] {
		errs = append(errs, field.Invalid(at, certificatesv1.CertificateDenied, "Approved and Denied conditions are mutually exclusive"))
	}
	return errs
}

// stampConditions gives new and changed conditions the times that clients leave out.
func stampConditions(req *kinds.Request, c, old csr) {
	now := metav1.NewTime(req.Now)
	for i := range c.Status.Conditions {
		cond := &c.Status.Conditions[i]
		if cond.LastUpdateTime.IsZero() {
			cond.LastUpdateTime = now
		}
		if !cond.LastTransitionTime.IsZero() {
			continue
		}
		cond.LastTransitionTime = now
		for _, before := range old.Status.Conditions {
			if before.Type == cond.Type && before.Status == cond.Status && !before.LastTransitionTime.IsZero() {
				cond.LastTransitionTime = before.LastTransitionTime
				break
			}
		}
	}
}

// keepDecisions takes Approved and Denied as they were: through the signer's door they cannot be set.
func keepDecisions(c, old csr) {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, cond := range old.Status.Conditions {
		if cond.Type == certificatesv1.CertificateApproved || cond.Type == certificatesv1.CertificateDenied {
			out = append(out, cond)
		}
	}
	for _, cond := range c.Status.Conditions {
		if cond.Type != certificatesv1.CertificateApproved && cond.Type != certificatesv1.CertificateDenied {
			out = append(out, cond)
		}
	}
	c.Status.Conditions = out
}
