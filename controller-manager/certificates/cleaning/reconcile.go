package cleaning

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	decided   = time.Hour
	undecided = 24 * time.Hour
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	csr, err := c.requests.Get(key)
	if err != nil {
		return nil
	}
	now := c.env.Clock.Now()
	if due := due(csr); now.Before(due) {
		c.loop.AddAfter(key, due.Sub(now))
		return nil
	}
	err = c.env.Client.CertificatesV1().CertificateSigningRequests().Delete(ctx, csr.Name, *metav1.NewPreconditionDeleteOptions(string(csr.UID)))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// due is when a request is to be deleted.
func due(csr *certificatesv1.CertificateSigningRequest) time.Time {
	if len(csr.Status.Conditions) == 0 {
		return csr.CreationTimestamp.Add(undecided)
	}
	first := time.Time{}
	earlier := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	for _, condition := range csr.Status.Conditions {
		at := condition.LastUpdateTime.Time
		if at.IsZero() {
			at = csr.CreationTimestamp.Time
		}
		switch condition.Type {
		case certificatesv1.CertificateApproved:
			if len(csr.Status.Certificate) == 0 {
				earlier(at.Add(undecided)) // it is the signer's turn, which may be a person too
				continue
			}
			earlier(at.Add(decided))
			if expiry, ok := expiry(csr.Status.Certificate); ok {
				earlier(expiry)
			}
		case certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			earlier(at.Add(decided))
		}
	}
	if first.IsZero() {
		return csr.CreationTimestamp.Add(undecided)
	}
	return first
}

func expiry(text []byte) (time.Time, bool) {
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}, false
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, false
	}
	return certificate.NotAfter, true
}
