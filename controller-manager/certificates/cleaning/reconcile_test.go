package cleaning

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDue(t *testing.T) {
	made := time.Unix(100_000, 0)
	decidedAt := made.Add(time.Minute)
	csr := func(certificate string, kinds ...certificatesv1.RequestConditionType) *certificatesv1.CertificateSigningRequest {
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(made)}}
		r.Status.Certificate = []byte(certificate)
		for _, kind := range kinds {
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: kind, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(decidedAt)})
		}
		return r
	}
	tests := []struct {
		name string
		csr  *certificatesv1.CertificateSigningRequest
		want time.Time
	}{
		{name: "nobody decides", csr: csr(""), want: made.Add(undecided)},
		{name: "denied", csr: csr("", certificatesv1.CertificateDenied), want: decidedAt.Add(decided)},
		{name: "issued", csr: csr("x", certificatesv1.CertificateApproved), want: decidedAt.Add(decided)},
		{name: "approved, and nobody signs", csr: csr("", certificatesv1.CertificateApproved), want: decidedAt.Add(undecided)},
		{name: "approved, and signing failed", csr: csr("", certificatesv1.CertificateApproved, certificatesv1.CertificateFailed), want: decidedAt.Add(decided)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := due(tt.csr); !got.Equal(tt.want) {
				t.Errorf("due at %s, want %s", got, tt.want)
			}
		})
	}
}
