package podcerts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/pkg/certs"
)

// signer answers requests until ctx ends: those of example.com/good with a certificate, the others with a refusal.
func signer(ctx context.Context, t *testing.T, client kubernetes.Interface, begin, end time.Time) {
	ca, err := certs.NewAuthority("test-ca")
	if err != nil {
		t.Error(err)
		return
	}
	requests := client.CertificatesV1().PodCertificateRequests("default")
	done := map[string]bool{}
	for ctx.Err() == nil {
		list, err := requests.List(ctx, metav1.ListOptions{})
		if err != nil {
			continue
		}
		for i := range list.Items {
			r := &list.Items[i]
			if done[r.Name] {
				continue
			}
			done[r.Name] = true
			cond := metav1.Condition{Type: certificatesv1.PodCertificateRequestConditionTypeDenied, Status: metav1.ConditionTrue, Reason: "No", Message: "never", LastTransitionTime: metav1.Now()}
			if r.Spec.SignerName == "example.com/good" {
				stub, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
				if err != nil {
					t.Error(err)
					return
				}
				der, err := ca.Sign(&x509.Certificate{NotBefore: time.Now().Add(-time.Minute), NotAfter: end, DNSNames: []string{"x"}}, stub.PublicKey)
				if err != nil {
					t.Error(err)
					return
				}
				leaf, err := x509.ParseCertificate(der)
				if err != nil {
					t.Error(err)
					return
				}
				r.Status.CertificateChain = "noise\n" + string(certs.EncodeCert(der))
				before, after, refresh := metav1.NewTime(leaf.NotBefore), metav1.NewTime(leaf.NotAfter), metav1.NewTime(begin)
				r.Status.NotBefore, r.Status.NotAfter, r.Status.BeginRefreshAt = &before, &after, &refresh
				cond.Type, cond.Reason, cond.Message = certificatesv1.PodCertificateRequestConditionTypeIssued, "Yes", "here"
			}
			r.Status.Conditions = []metav1.Condition{cond}
			if _, err := requests.UpdateStatus(ctx, r, metav1.UpdateOptions{}); err != nil && ctx.Err() == nil {
				t.Errorf("answer request: %v", err)
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestCertificate(t *testing.T) {
	api := apitest.Start(t)
	client, ctx := api.Client(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	node, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	must(err)
	_, err = client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "sa"}}, metav1.CreateOptions{})
	must(err)
	no, seconds := false, int32(7200)
	source := &corev1.PodCertificateProjection{SignerName: "example.com/good", KeyType: "ED25519", MaxExpirationSeconds: &seconds, CredentialBundlePath: "a"}
	bad := &corev1.PodCertificateProjection{SignerName: "example.com/bad", KeyType: "ECDSAP256", MaxExpirationSeconds: &seconds, CredentialBundlePath: "b"}
	pod, err := client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa", AutomountServiceAccountToken: &no, Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{PodCertificate: source}, {PodCertificate: bad}}}}}}}}, metav1.CreateOptions{})
	must(err)
	go signer(ctx, t, client, time.Now().Add(40*time.Minute), time.Now().Add(61*time.Minute))

	// As the node itself: what it may ask for is part of what is tested.
	nodeClient, err := kubernetes.NewForConfig(api.As("system:node:n1", "system:nodes"))
	must(err)
	events := record.NewFakeRecorder(10)
	m := New(nodeClient, events, func() *corev1.Node { return node })
	key, chain, renew, err := m.Certificate(ctx, pod, "v", 0, source)
	must(err)
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		t.Errorf("key and chain do not belong together: %v", err)
	}
	if strings.Contains(string(chain), "noise") || time.Until(renew) < 39*time.Minute {
		t.Errorf("chain %s renew %v", chain, renew)
	}
	_, again, _, err := m.Certificate(ctx, pod, "v", 0, source)
	must(err)
	if string(again) != string(chain) {
		t.Error("a fresh certificate was replaced")
	}
	if _, _, _, err := m.Certificate(ctx, pod, "v", 1, bad); err == nil || !strings.Contains(err.Error(), `was denied, reason="No", message="never"`) {
		t.Errorf("error %v", err)
	}
	if e := <-events.Events; !strings.HasPrefix(e, "Warning Denied") {
		t.Errorf("event %s", e)
	}
	m.Forget(pod.UID)
	if len(m.certs) != 0 {
		t.Error("certificates of a forgotten pod are kept")
	}
}
