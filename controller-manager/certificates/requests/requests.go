package requests

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// Parse reads the PEM of a request.
func Parse(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// Has says that a request's condition of that type is true. Approved and denied ones carry no status at all in old objects.
func Has(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	return slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == kind && (c.Status == corev1.ConditionTrue || c.Status == "")
	})
}

// NodeClient says why a request is not for a node's client certificate; nil if it is.
func NodeClient(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := nodes(req); err != nil {
		return err
	}
	switch {
	case len(req.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(req.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(req.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(req.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	return nodeNameAndUsages(req, usages, certificatesv1.UsageClientAuth)
}

// NodeServing says why a request is not for a node's serving certificate; nil if it is.
func NodeServing(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	if err := nodes(req); err != nil {
		return err
	}
	switch {
	case len(req.DNSNames) == 0 && len(req.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(req.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(req.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	return nodeNameAndUsages(req, usages, certificatesv1.UsageServerAuth)
}

func nodes(req *x509.CertificateRequest) error {
	if !slices.Equal(req.Subject.Organization, []string{"system:nodes"}) {
		return errors.New("subject organization is not system:nodes")
	}
	return nil
}

// nodeNameAndUsages: key encipherment is for RSA keys only, and may be missing with others.
func nodeNameAndUsages(req *x509.CertificateRequest, usages []certificatesv1.KeyUsage, auth certificatesv1.KeyUsage) error {
	withRSA := []certificatesv1.KeyUsage{auth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	without := []certificatesv1.KeyUsage{auth, certificatesv1.UsageDigitalSignature}
	slices.Sort(withRSA)
	slices.Sort(without)
	has := slices.Clone(usages)
	slices.Sort(has)
	has = slices.Compact(has)
	if !slices.Equal(has, withRSA) && !slices.Equal(has, without) {
		return fmt.Errorf("usages did not match %v", withRSA)
	}
	if !strings.HasPrefix(req.Subject.CommonName, "system:node:") {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

// APIClient says why usages are not those of a client certificate; nil if they are.
func APIClient(usages []certificatesv1.KeyUsage) error {
	client := false
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		case certificatesv1.UsageClientAuth:
			client = true
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !client {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}
