package certificates

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

var (
	podStatusPath = field.NewPath("status")
	chainPath     = podStatusPath.Child("certificateChain")
	notBeforePath = podStatusPath.Child("notBefore")
	notAfterPath  = podStatusPath.Child("notAfter")
	refreshPath   = podStatusPath.Child("beginRefreshAt")
)

// How far the signer's clock may be from ours, and how far a refresh keeps from both ends of a certificate's life.
const (
	skew          = 5 * time.Minute
	refreshMargin = 10 * time.Minute
)

// outcomes are the types of conditions that a request may have; one of them, and true.
var outcomes = []string{certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied, certificatesv1.PodCertificateRequestConditionTypeFailed}

// outcome is how a request has ended; empty if it has not.
func outcome(r podRequest) string {
	for _, c := range r.Status.Conditions {
		if c.Status == metav1.ConditionTrue && slices.Contains(outcomes, c.Type) {
			return c.Type
		}
	}
	return ""
}

// validatePodRequestStatus stops at the first thing that is wrong, as upstream does: what follows would build on it.
func validatePodRequestStatus(req *kinds.Request, r, old podRequest) field.ErrorList {
	var l check.List
	known := 0
	for i, c := range r.Status.Conditions {
		// Upstream's path has a dot before the index.
		at := podStatusPath.Child("conditions", fmt.Sprintf("[%d]", i))
		if !slices.Contains(outcomes, c.Type) {
			l.Add(field.NotSupported(at.Child("type"), c.Type, outcomes))
			continue
		}
		if known++; known > 1 {
			l.Add(field.Invalid(at.Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`))
		}
		check.OneOf(&l, at.Child("status"), c.Status, metav1.ConditionTrue)
	}
	l.All(metavalidation.ValidateConditions(r.Status.Conditions, podStatusPath.Child("conditions")))
	if len(l.ErrorList) > 0 {
		return l.ErrorList
	}
	only := func(want certificatesv1.PodCertificateRequestStatus, why string) {
		if !apiequality.Semantic.DeepEqual(r.Status, want) {
			l.Add(field.Invalid(podStatusPath, field.OmitValueType{}, why))
		}
	}
	switch {
	case outcome(old) != "":
		only(old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
	case outcome(r) == certificatesv1.PodCertificateRequestConditionTypeIssued:
		l.All(issued(req.Now, r, old))
	case outcome(r) != "":
		only(certificatesv1.PodCertificateRequestStatus{Conditions: r.Status.Conditions}, "non-condition status fields must be empty when denying or failing the PodCertificateRequest")
	default:
		only(old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
	}
	return l.ErrorList
}

// issued checks what a signer delivers: a chain that begins with a certificate for the key that was asked about.
func issued(now time.Time, r, old podRequest) field.ErrorList {
	var l check.List
	chain := r.Status.CertificateChain
	wrong := func(why string) field.ErrorList { return append(l.ErrorList, field.Invalid(chainPath, chain, why)) }
	if len(chain) > longestChain {
		return field.ErrorList{field.TooLong(chainPath, chain, longestChain)}
	}
	block, rest := pem.Decode([]byte(chain))
	switch {
	case block == nil:
		return wrong("issued certificate chain must contain at least one certificate")
	case block.Type != "CERTIFICATE":
		return wrong("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return wrong("leaf certificate does not parse as valid X.509")
	}
	subjects(&l, leaf)
	request, err := x509.ParseCertificateRequest(old.Spec.StubPKCS10Request)
	if err != nil {
		return append(l.ErrorList, field.Invalid(requestPath, field.OmitValueType{}, "must be a valid PKCS#10 CSR"))
	}
	if k, ok := request.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && !k.Equal(leaf.PublicKey) {
		return wrong("leaf certificate was not issued to the requested public key")
	}
	times(&l, now, r, leaf)
	if len(l.ErrorList) > 0 {
		return l.ErrorList
	}
	for {
		if block, rest = pem.Decode(rest); block == nil {
			return nil
		}
		if block.Type != "CERTIFICATE" {
			return wrong("issued certificate chain must consist entirely of CERTFICATE PEM blocks")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return wrong("intermediate certificate does not parse as valid X.509")
		}
	}
}

// subjects complains about names that programs in Go refuse to read.
func subjects(l *check.List, leaf *x509.Certificate) {
	for _, name := range leaf.DNSNames {
		if name == "" {
			l.Add(field.Invalid(chainPath, name, "leaf certificate should not contain empty DNSName"))
		}
		if strings.Contains(name, "..") {
			l.Add(field.Invalid(chainPath, name, "leaf certificate's DNSName should not contain '..'"))
		}
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			l.Add(field.Invalid(chainPath, name, "leaf certificate's DNSName should not start or end with '.'"))
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			l.Add(field.Invalid(chainPath, address, "leaf certificate should not contain invalid EmailAddress"))
		}
	}
}

// times checks what the status says of the certificate's life. It adds at most one error beyond missing times.
func times(l *check.List, now time.Time, r podRequest, leaf *x509.Certificate) {
	s := &r.Status
	if s.NotBefore == nil {
		l.Add(field.Required(notBeforePath, "must be present and consistent with the issued certificate"))
	}
	if s.NotAfter == nil {
		l.Add(field.Required(notAfterPath, "must be present and consistent with the issued certificate"))
	}
	if s.BeginRefreshAt == nil {
		l.Add(field.Required(refreshPath, "must be present and in the range [notbefore+10min, notafter-10min]"))
	}
	if len(l.ErrorList) > 0 {
		return
	}
	life, most := leaf.NotAfter.Sub(leaf.NotBefore), *r.Spec.MaxExpirationSeconds
	from, to, refresh := s.NotBefore.Time, s.NotAfter.Time, s.BeginRefreshAt.Time
	switch {
	case !from.Equal(leaf.NotBefore):
		l.Add(field.Invalid(notBeforePath, from, "must be set to the NotBefore time encoded in the leaf certificate"))
	case from.Sub(now).Abs() >= skew:
		l.Add(field.Invalid(notBeforePath, from, "must be set to within 5 minutes of kube-apiserver's current time"))
	case !to.Equal(leaf.NotAfter):
		l.Add(field.Invalid(notAfterPath, to, "must be set to the NotAfter time encoded in the leaf certificate"))
	case life < time.Hour:
		l.Add(field.Invalid(chainPath, life, "leaf certificate lifetime must be >= 1 hour"))
	case life > time.Duration(most)*time.Second:
		l.Add(field.Invalid(chainPath, life, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", most)))
	case refresh.Before(from.Add(refreshMargin)):
		l.Add(field.Invalid(refreshPath, refresh, "must be at least 10 minutes after status.notBefore"))
	case refresh.After(to.Add(-refreshMargin)):
		l.Add(field.Invalid(refreshPath, refresh, "must be at least 10 minutes before status.notAfter"))
	}
}
