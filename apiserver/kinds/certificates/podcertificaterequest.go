package certificates

import (
	"fmt"
	"sort"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// PodCertificateRequest asks a signer for a certificate on behalf of a pod.
var PodCertificateRequest = kinds.Define(kinds.Row[*certificatesv1.PodCertificateRequest]{
	Resource: "podcertificaterequests", Scope: kinds.Namespaced, StorageVersion: "v1beta1", Generation: kinds.GenerationNever,
	NoUnconditionalUpdate: true, StatusResets: []string{"spec", "metadata"}, StatusResetsMeta: true,
	Fields: func(r *certificatesv1.PodCertificateRequest) fields.Set {
		return fields.Set{"spec.signerName": r.Spec.SignerName, "spec.podName": r.Spec.PodName, "spec.nodeName": string(r.Spec.NodeName)}
	},
	Default: func(r *certificatesv1.PodCertificateRequest) {
		if r.Spec.MaxExpirationSeconds == nil {
			day := int32(86400)
			r.Spec.MaxExpirationSeconds = &day
		}
	},
	Validate: validatePodRequest, ValidateUpdate: validatePodRequestUpdate, ValidateStatus: validatePodRequestStatus,
	Begin:   maySign,
	Columns: podCertificateColumns(),
})

func podCertificateColumns() []kinds.Column[*certificatesv1.PodCertificateRequest] {
	type pcr = *certificatesv1.PodCertificateRequest
	spec := certificatesv1.PodCertificateRequestSpec{}
	return []kinds.Column[pcr]{
		kinds.NameColumn[pcr](),
		{Name: "PodName", Description: kinds.Doc(spec, "podName"), Cell: func(r pcr) any { return r.Spec.PodName }},
		{Name: "ServiceAccountName", Description: kinds.Doc(spec, "serviceAccountName"), Cell: func(r pcr) any { return r.Spec.ServiceAccountName }},
		{Name: "NodeName", Description: kinds.Doc(spec, "nodeName"), Cell: func(r pcr) any { return string(r.Spec.NodeName) }},
		{Name: "SignerName", Description: kinds.Doc(spec, "signerName"), Cell: func(r pcr) any { return r.Spec.SignerName }},
		{Name: "State", Description: "Is the request Pending, Issued, Denied, or Failed?", Cell: func(r pcr) any {
			for _, c := range r.Status.Conditions {
				switch c.Type {
				case "Issued", "Denied", "Failed":
					return c.Type
				}
			}
			return "Pending"
		}},
		{Name: "UnverifiedUserAnnotations", Description: kinds.Doc(spec, "unverifiedUserAnnotations"), Cell: func(r pcr) any {
			if len(r.Spec.UnverifiedUserAnnotations) == 0 {
				return "<none>"
			}
			pairs := make([]string, 0, len(r.Spec.UnverifiedUserAnnotations))
			for k, v := range r.Spec.UnverifiedUserAnnotations {
				pairs = append(pairs, fmt.Sprintf("%s=%s", k, v))
			}
			sort.Strings(pairs)
			return strings.Join(pairs, ",")
		}},
	}
}
