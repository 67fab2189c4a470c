package approving

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/controller-manager/certificates/requests"
	"github.com/skiff-project/skiff/controller-manager/control"
)

// permission is one way to have a request approved.
type permission struct {
	subresource, message string
}

func (c *Controller) reconcile(ctx context.Context, key string) error {
	csr, err := c.requests.Get(key)
	if err != nil || len(csr.Status.Certificate) > 0 || requests.Has(csr, certificatesv1.CertificateApproved) || requests.Has(csr, certificatesv1.CertificateDenied) {
		return nil
	}
	parsed, err := requests.Parse(csr.Spec.Request)
	if err != nil {
		return fmt.Errorf("unable to parse csr %q: %w", csr.Name, err)
	}
	ways := ways(csr, parsed)
	for _, way := range ways {
		allowed, err := c.allowed(ctx, csr, way.subresource)
		if err != nil {
			return err
		}
		if !allowed {
			continue
		}
		approved := csr.DeepCopy()
		approved.Status.Conditions = append(approved.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: way.message,
		})
		_, err = c.env.Client.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, csr.Name, approved, metav1.UpdateOptions{})
		return control.IgnoreNotFound(err)
	}
	if len(ways) > 0 {
		slog.Info("certificate request of a node is not approved: the requester may not", "request", csr.Name, "user", csr.Spec.Username)
	}
	return nil
}

// ways answers the permissions under which a request would be approved.
func ways(csr *certificatesv1.CertificateSigningRequest, parsed *x509.CertificateRequest) []permission {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || requests.NodeClient(parsed, csr.Spec.Usages) != nil {
		return nil
	}
	var all []permission
	if csr.Spec.Username == parsed.Subject.CommonName {
		all = append(all, permission{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."})
	}
	return append(all, permission{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."})
}

func (c *Controller) allowed(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Verb: "create", Subresource: subresource, Version: "*",
		},
	}}
	for k, v := range csr.Spec.Extra {
		review.Spec.Extra[k] = authorizationv1.ExtraValue(v)
	}
	answer, err := c.env.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}
