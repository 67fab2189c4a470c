package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

func request(t *testing.T, change func(csr)) csr {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
	}}
	if change != nil {
		change(c)
	}
	return c
}

func TestValidateCSR(t *testing.T) {
	short := int32(599)
	for _, test := range []struct {
		name   string
		change func(csr)
		want   string // part of the only error; empty: none
	}{
		{"a proper request", nil, ""},
		{"no PEM", func(c csr) { c.Spec.Request = []byte("x") }, "PEM block type must be CERTIFICATE REQUEST"},
		{"no usages", func(c csr) { c.Spec.Usages = nil }, "spec.usages: Required value"},
		{"unknown usage", func(c csr) { c.Spec.Usages = []certificatesv1.KeyUsage{"x"} }, `spec.usages[0]: Unsupported value: "x"`},
		{"the same usage twice", func(c csr) { c.Spec.Usages = append(c.Spec.Usages, c.Spec.Usages[0]) }, `spec.usages[1]: Duplicate value: "client auth"`},
		{"signer of old", func(c csr) { c.Spec.SignerName = "kubernetes.io/legacy-unknown" }, "the legacy signerName is not allowed via this API version"},
		{"signer without a path", func(c csr) { c.Spec.SignerName = "example.com" }, "must be a fully qualified domain and path"},
		{"no signer", func(c csr) { c.Spec.SignerName = "" }, "spec.signerName: Required value"},
		{"too short a life", func(c csr) { c.Spec.ExpirationSeconds = &short }, "may not specify a duration less than 600 seconds (10 minutes)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			errs := validateCSR(nil, request(t, test.change))
			switch {
			case test.want == "" && len(errs) > 0:
				t.Errorf("got %v", errs)
			case test.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), test.want)):
				t.Errorf("got %v, want one with %q", errs, test.want)
			}
		})
	}
}

func TestAClientCannotSayWhoItIs(t *testing.T) {
	c := request(t, func(c csr) {
		c.Spec.Username, c.Spec.Groups = "system:admin", []string{"system:masters"}
		c.Status.Certificate = []byte("mine")
	})
	prepareCSR(&kinds.Request{User: kinds.UserInfo{Name: "jane", Groups: []string{"dev"}}}, c)
	if c.Spec.Username != "jane" || len(c.Spec.Groups) != 1 || c.Spec.Groups[0] != "dev" || c.Status.Certificate != nil {
		t.Errorf("got %+v", c)
	}
}

func TestApprovalKeepsToItsDoor(t *testing.T) {
	approved := certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}
	denied := certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue}
	old := request(t, nil)
	with := func(list ...certificatesv1.CertificateSigningRequestCondition) csr {
		c := old.DeepCopy()
		c.ResourceVersion, c.Status.Conditions = "1", list
		return c
	}
	before := with()
	approver, signer := csrDoor{decides: true}, csrDoor{issues: true}
	if errs := approver.validate(nil, with(approved), before); len(errs) > 0 {
		t.Errorf("approval: %v", errs)
	}
	if errs := approver.validate(nil, with(approved, denied), before); len(errs) != 1 || !strings.Contains(errs[0].Error(), "must specify at most one of") {
		t.Errorf("approved and denied: %v", errs)
	}
	if errs := approver.validate(nil, with(), with(approved)); len(errs) != 1 || !strings.Contains(errs[0].Error(), `may not remove a condition of type "Approved"`) {
		t.Errorf("approval taken back: %v", errs)
	}
	if errs := signer.validate(nil, with(approved), before); len(errs) != 1 || !strings.Contains(errs[0].Error(), `may not add a condition of type "Approved"`) {
		t.Errorf("approval by the signer: %v", errs)
	}
	// What the signer writes into a decision is set back before it is looked at.
	reworded := approved
	reworded.Message = "I say so"
	c := with(reworded)
	CertificateSigningRequest.Subresources["status"].Update.Prepare(&kinds.Request{}, c, with(approved))
	if c.Status.Conditions[0].Message != "" {
		t.Errorf("the signer reworded: %v", c.Status.Conditions)
	}
	// Approvers may annotate what they approve, and do not issue.
	c = with(approved)
	c.Annotations, c.Status.Certificate = map[string]string{"a": "b"}, []byte("mine")
	CertificateSigningRequest.Subresources["approval"].Update.Prepare(&kinds.Request{}, c, before)
	if c.Annotations["a"] != "b" || c.Status.Certificate != nil {
		t.Errorf("after approval: %+v", c)
	}
}
