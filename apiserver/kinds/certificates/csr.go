package certificates

import (
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// CertificateSigningRequest asks a signer for a certificate. The approval door decides, the status door delivers.
var CertificateSigningRequest = kinds.Define(kinds.Row[*certificatesv1.CertificateSigningRequest]{
	Resource: "certificatesigningrequests", Resets: []string{"spec", "status"}, StatusResets: []string{"spec", "status.conditions"}, ShortNames: []string{"csr"}, Generation: kinds.GenerationNever,
	// Any name will do that can stand in a path.
	Name: kinds.PathSegment,
	Fields: func(c *certificatesv1.CertificateSigningRequest) fields.Set {
		return fields.Set{"spec.signerName": c.Spec.SignerName}
	},
	Columns:       csrColumns(),
	PrepareCreate: prepareCSR, Validate: validateCSR,
	PrepareUpdate: keepSpec, ValidateUpdate: csrDoor{}.validate,
	PrepareStatus: func(req *kinds.Request, c, old *certificatesv1.CertificateSigningRequest) {
		// The signer's door: it delivers or fails, and does not decide.
		keepDecisions(c, old)
		stampConditions(req, c, old)
	},
	ValidateStatus: csrDoor{issues: true}.validate,
	Subresources:   map[string]*kinds.Subresource{"approval": approval},
})

// approval is the door of approvers: it changes conditions, and metadata as every door does.
var approval = &kinds.Subresource{
	GVK: certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"), Verbs: []string{"get", "patch", "update"},
	Update: &kinds.UpdateDoor{
		Resets: []string{"spec", "status.certificate"},
		Prepare: func(req *kinds.Request, o, before runtime.Object) {
			c, old := o.(csr), before.(csr)
			c.Spec, c.Status.Certificate = old.Spec, old.Status.Certificate
			stampConditions(req, c, old)
		},
		Validate: func(req *kinds.Request, o, before runtime.Object) field.ErrorList {
			c, old := o.(csr), before.(csr)
			return append(kinds.ValidateMetaUpdate(c, old, kinds.Cluster), csrDoor{decides: true}.validate(req, c, old)...)
		},
	},
}

// The two descriptions below are those of upstream's internal type.
const signerDescription = "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n" +
	" 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n" +
	" 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n" +
	" 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\n" +
	"Distribution of trust for signers happens out of band. You can select on this field using `spec.signerName`."

func csrColumns() []kinds.Column[*certificatesv1.CertificateSigningRequest] {
	type csr = *certificatesv1.CertificateSigningRequest
	return []kinds.Column[csr]{
		kinds.NameColumn[csr](),
		kinds.AgeColumn[csr](),
		{Name: "SignerName", Description: signerDescription, Cell: func(c csr) any { return signerText(c) }},
		{Name: "Requestor", Description: "Base64-encoded PKCS#10 CSR data", Cell: func(c csr) any { return c.Spec.Username }},
		{Name: "RequestedDuration", Description: kinds.Doc(certificatesv1.CertificateSigningRequestSpec{}, "expirationSeconds"), Cell: func(c csr) any {
			if c.Spec.ExpirationSeconds == nil {
				return "<none>"
			}
			return duration.HumanDuration(time.Duration(*c.Spec.ExpirationSeconds) * time.Second)
		}},
		{Name: "Condition", Description: "Conditions applied to the request, such as approval or denial.", Cell: func(c csr) any { return csrCondition(c) }},
	}
}

func signerText(c *certificatesv1.CertificateSigningRequest) string {
	if c.Spec.SignerName == "" {
		return "<none>"
	}
	return c.Spec.SignerName
}

func csrCondition(c *certificatesv1.CertificateSigningRequest) string {
	var approved, denied, failed bool
	for _, cond := range c.Status.Conditions {
		switch cond.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied:
			denied = true
		case certificatesv1.CertificateFailed:
			failed = true
		}
	}
	var words []string
	switch {
	case denied:
		words = append(words, "Denied")
	case approved:
		words = append(words, "Approved")
	default:
		words = append(words, "Pending")
	}
	if failed {
		words = append(words, "Failed")
	}
	if len(c.Status.Certificate) > 0 {
		words = append(words, "Issued")
	}
	return strings.Join(words, ",")
}
