package controllermanager

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// A node that has nothing but a bootstrap token gets its certificate, as kubeadm sets it up.
func TestANodeJoinsByToken(t *testing.T) {
	api, admin := start(t)
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-abcdef"}, Type: "bootstrap.kubernetes.io/token", StringData: map[string]string{
		"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"}}
	if _, err := admin.CoreV1().Secrets("kube-system").Create(t.Context(), token, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, role := range map[string]string{"join": "system:node-bootstrapper", "approve": "system:certificates.k8s.io:certificatesigningrequests:nodeclient"} {
		if _, err := admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name},
			Subjects: []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:bootstrappers"}},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	joiner := api.ClientFor(api.WithToken("abcdef.0123456789abcdef"))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	node := api.Anonymous()
	node.CertData = request(t, joiner, key, "n1", "system:node:n1")
	node.KeyData = pemKey(t, key)
	if _, err := joiner.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the token does more than joining: %v", err)
	}
	registers(t, api, node)
	// Whoever is no node's name is not approved, and so not signed.
	csr := newRequest(t, key, "other", "eve", "")
	if _, err := joiner.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{}); err == nil {
		within(t, soon, func() error {
			if _, err := admin.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "n1", metav1.GetOptions{}); err != nil {
				return err
			}
			got, err := admin.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "other", metav1.GetOptions{})
			if err == nil && len(got.Status.Certificate) > 0 {
				t.Fatal("a certificate for eve")
			}
			return err
		})
	}
}

func newRequest(t *testing.T, key *ecdsa.PrivateKey, name, common, org string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	subject := pkix.Name{CommonName: common}
	if org != "" {
		subject.Organization = []string{org}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}}}
}

// request asks for a node's certificate and waits for it.
func request(t *testing.T, c kubernetes.Interface, key *ecdsa.PrivateKey, name, common string) (cert []byte) {
	t.Helper()
	requests := c.CertificatesV1().CertificateSigningRequests()
	within(t, soon, func() error {
		_, err := requests.Create(t.Context(), newRequest(t, key, name, common, "system:nodes"), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err // forbidden, until the binding is known
	})
	within(t, soon, func() error {
		got, err := requests.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if cert = got.Status.Certificate; len(cert) == 0 {
			return fmt.Errorf("no certificate: %+v", got.Status)
		}
		return nil
	})
	return cert
}

func pemKey(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// registers has the node say that it is there, which it may, and that another is, which it may not.
func registers(t *testing.T, api *apitest.Server, config *rest.Config) {
	t.Helper()
	nodes := api.ClientFor(config).CoreV1().Nodes()
	within(t, soon, func() error {
		_, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	_, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Error(errors.Join(errors.New("n1 registers n2"), err))
	}
}
