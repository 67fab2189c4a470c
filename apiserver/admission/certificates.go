package admission

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

const certificatesGroup = certificatesv1.GroupName

// forSigner asks whether a user may do something on behalf of a signer: by its name, or by its domain's DOMAIN/*.
func (o *Objects) forSigner(ctx context.Context, a *Attributes, verb, resource, signer string) bool {
	names := []string{signer}
	if domain, _, ok := strings.Cut(signer, "/"); ok {
		names = append(names, domain+"/*")
	}
	return slices.ContainsFunc(names, func(name string) bool {
		decision, _, err := o.Authz.Decide(ctx, kinds.Access{User: *a.User, Verb: verb, Group: certificatesGroup, Version: "*", Resource: resource, Name: name})
		return err == nil && decision == kinds.Allow
	})
}

// CertificateApproval lets only those approve a request who may approve for its signer.
func CertificateApproval(o *Objects) Rule {
	return Rule{Name: "CertificateApproval", Validate: func(ctx context.Context, a *Attributes) error {
		if !a.Is(certificatesGroup, "certificatesigningrequests", "approval") || a.Operation != Update {
			return nil
		}
		// The stored signer counts: the one in the update is refused elsewhere if it differs.
		if signer := a.Old.(*certificatesv1.CertificateSigningRequest).Spec.SignerName; !o.forSigner(ctx, a, "approve", "signers", signer) {
			return forbidden(a, "user not permitted to approve requests with signerName %q", signer)
		}
		return nil
	}}
}

// CertificateSigning lets only those put in a certificate who may sign for the signer.
func CertificateSigning(o *Objects) Rule {
	return Rule{Name: "CertificateSigning", Validate: func(ctx context.Context, a *Attributes) error {
		if !a.Is(certificatesGroup, "certificatesigningrequests", "status") || a.Operation != Update {
			return nil
		}
		csr, old := a.Object.(*certificatesv1.CertificateSigningRequest), a.Old.(*certificatesv1.CertificateSigningRequest)
		if bytes.Equal(csr.Status.Certificate, old.Status.Certificate) && apiequality.Semantic.DeepEqual(csr.Status.Conditions, old.Status.Conditions) {
			return nil
		}
		if !o.forSigner(ctx, a, "sign", "signers", old.Spec.SignerName) {
			return forbidden(a, "user not permitted to sign requests with signerName %q", old.Spec.SignerName)
		}
		return nil
	}}
}

// CertificateSubjectRestriction keeps certificates for system:masters from being asked for.
func CertificateSubjectRestriction() Rule {
	return Rule{Name: "CertificateSubjectRestriction", Validate: func(_ context.Context, a *Attributes) error {
		if !a.Is(certificatesGroup, "certificatesigningrequests", "") || a.Operation != Create {
			return nil
		}
		csr := a.Object.(*certificatesv1.CertificateSigningRequest)
		if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		request, err := parseCSR(csr.Spec.Request)
		if err != nil {
			return forbidden(a, "failed to parse CSR: %v", err)
		}
		if slices.Contains(request.Subject.Organization, "system:masters") {
			return forbidden(a, "use of %s signer with system:masters group is not allowed", certificatesv1.KubeAPIServerClientSignerName)
		}
		return nil
	}}
}

func parseCSR(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// ClusterTrustBundleAttest lets only those publish a bundle for a signer who may attest for it.
func ClusterTrustBundleAttest(o *Objects) Rule {
	return Rule{Name: "ClusterTrustBundleAttest", Validate: func(ctx context.Context, a *Attributes) error {
		if !a.Is(certificatesGroup, "clustertrustbundles", "") || a.Operation != Create && a.Operation != Update {
			return nil
		}
		bundle, _ := a.Object.(*certificatesv1.ClusterTrustBundle)
		if bundle == nil {
			return forbidden(a, "wrong type %T", a.Object)
		}
		if old, _ := a.Old.(*certificatesv1.ClusterTrustBundle); old != nil && apiequality.Semantic.DeepEqual(bundle.Spec, old.Spec) {
			return nil // garbage collection and migration change what is around it
		}
		if signer := bundle.Spec.SignerName; signer != "" && !o.forSigner(ctx, a, "attest", "signers", signer) {
			return forbidden(a, "user not permitted to attest for signerName %q", signer)
		}
		return nil
	}}
}
