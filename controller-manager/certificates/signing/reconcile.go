package signing

import (
	"context"
	"crypto/x509"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/controller-manager/certificates/requests"
	"github.com/skiff-project/skiff/controller-manager/control"
)

// legacyUnknown is the signer of requests from before signers had names.
const legacyUnknown = "kubernetes.io/legacy-unknown"

func (c *Controller) reconcile(ctx context.Context, key string) error {
	csr, err := c.requests.Get(key)
	if err != nil || len(csr.Status.Certificate) > 0 || !requests.Has(csr, certificatesv1.CertificateApproved) ||
		requests.Has(csr, certificatesv1.CertificateDenied) || requests.Has(csr, certificatesv1.CertificateFailed) {
		return nil
	}
	if !ours(csr.Spec.SignerName) {
		return nil
	}
	parsed, err := requests.Parse(csr.Spec.Request)
	if err != nil {
		return fmt.Errorf("unable to parse csr %q: %w", csr.Name, err)
	}
	now := c.env.Clock.Now()
	updated := csr.DeepCopy()
	if err := check(csr.Spec.SignerName, parsed, csr.Spec.Usages); err != nil {
		updated.Status.Conditions = append(updated.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure",
			Message: err.Error(), LastUpdateTime: metav1.NewTime(now),
		})
	} else {
		ca, err := load(c.config.CertFile, c.config.KeyFile)
		if err != nil {
			return err
		}
		if updated.Status.Certificate, err = ca.sign(parsed, csr.Spec.Usages, life(csr.Spec.ExpirationSeconds, c.config.Duration), now); err != nil {
			return fmt.Errorf("error auto signing csr: %w", err)
		}
	}
	_, err = c.env.Client.CertificatesV1().CertificateSigningRequests().UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}

func ours(signer string) bool {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName, legacyUnknown:
		return true
	}
	return false
}

// check says why the signer must refuse the request although it is approved.
func check(signer string, parsed *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName:
		return requests.APIClient(usages)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return requests.NodeClient(parsed, usages)
	case certificatesv1.KubeletServingSignerName:
		return requests.NodeServing(parsed, usages)
	}
	return nil
}
