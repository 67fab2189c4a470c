// Package podcerts gets the certificates of podCertificate volumes: it makes a key for the pod, which never leaves the node but for
// the pod's own volume, asks the cluster by a PodCertificateRequest, and asks again when the signer says that it is time.
package podcerts

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
)

const (
	// patience is how long a caller waits for a first certificate before it is told to come again.
	patience = 15 * time.Second
	poll     = 250 * time.Millisecond
	// later is when an unanswered renewal is looked at again.
	later = 10 * time.Second
	// spread keeps the renewals of many pods apart, overdue is when a late one is told about.
	spread  = 5 * time.Minute
	overdue = 10 * time.Minute
)

// Manager holds the certificates of all pods of the node.
type Manager struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	node     func() *corev1.Node

	mu    sync.Mutex
	certs map[key]*certificate
}

type key struct {
	pod    types.UID
	volume string
	index  int
}

// certificate is one source's state. Its mutex is held while the API is asked.
type certificate struct {
	mu         sync.Mutex
	key, chain []byte
	renew, end time.Time
	refused    error // for good

	request    string // the one that is not answered yet
	requestKey []byte

	toldOverdue, toldExpired bool
}

// New returns a manager. node is this node's object, once known.
func New(client kubernetes.Interface, recorder record.EventRecorder, node func() *corev1.Node) *Manager {
	return &Manager{client: client, recorder: recorder, node: node, certs: map[key]*certificate{}}
}

// Forget drops what is held for a pod.
func (m *Manager) Forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.certs {
		if k.pod == uid {
			delete(m.certs, k)
		}
	}
}

// Certificate returns key and chain for a source, and when to ask again.
func (m *Manager) Certificate(ctx context.Context, pod *corev1.Pod, volume string, index int, s *corev1.PodCertificateProjection) (keyPEM, chain []byte, renew time.Time, err error) {
	m.mu.Lock()
	k := key{pod.UID, volume, index}
	c := m.certs[k]
	if c == nil {
		c = &certificate{}
		m.certs[k] = c
	}
	m.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()

	now := time.Now()
	switch {
	case c.refused != nil:
		return nil, nil, time.Time{}, c.refused
	case c.chain != nil && now.Before(c.renew):
		return c.key, c.chain, c.renew, nil
	}
	if c.request == "" {
		if err := m.ask(ctx, c, pod, s); err != nil {
			return m.old(c, pod, now, err)
		}
	}
	deadline := now.Add(patience)
	for {
		answered, err := m.look(ctx, c, pod)
		switch {
		case err != nil:
			return m.old(c, pod, now, err)
		case answered:
			return c.key, c.chain, c.renew, nil
		case c.chain != nil || time.Now().After(deadline):
			return m.old(c, pod, now, errors.New("no credentials yet: the PodCertificateRequest is not answered"))
		}
		select {
		case <-ctx.Done():
			return nil, nil, time.Time{}, ctx.Err()
		case <-time.After(poll):
		}
	}
}

// old falls back on the certificate that is there.
func (m *Manager) old(c *certificate, pod *corev1.Pod, now time.Time, err error) ([]byte, []byte, time.Time, error) {
	if c.chain == nil || c.refused != nil {
		return nil, nil, time.Time{}, err
	}
	if now.After(c.renew.Add(overdue)) && !c.toldOverdue {
		c.toldOverdue = true
		m.recorder.Event(pod, corev1.EventTypeWarning, "CertificateOverdueForRefresh", "PodCertificate refresh overdue")
	}
	if now.After(c.end) && !c.toldExpired {
		c.toldExpired = true
		m.recorder.Event(pod, corev1.EventTypeWarning, "CertificateExpired", "PodCertificate expired")
	}
	return c.key, c.chain, now.Add(later), nil
}

func (m *Manager) ask(ctx context.Context, c *certificate, pod *corev1.Pod, s *corev1.PodCertificateProjection) error {
	node := m.node()
	if node == nil || node.UID == "" {
		return errors.New("while getting node object: it is not known yet")
	}
	account, err := m.client.CoreV1().ServiceAccounts(pod.Namespace).Get(ctx, pod.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("while fetching service account: %w", err)
	}
	private, err := generate(s.KeyType)
	if err != nil {
		return err
	}
	// The request is empty: it only proves that the key is held.
	proof, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return fmt.Errorf("while generating stub PKCS#10 request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("while PEM-encoding private key: %w", err)
	}
	request, err := m.client.CertificatesV1().PodCertificateRequests(pod.Namespace).Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "req-", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: s.SignerName, PodName: pod.Name, PodUID: pod.UID, ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(node.Name), NodeUID: node.UID, MaxExpirationSeconds: s.MaxExpirationSeconds,
			StubPKCS10Request: proof, UnverifiedUserAnnotations: s.UserAnnotations,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("while creating PodCertificateRequest: %w", err)
	}
	c.request, c.requestKey = request.Name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return nil
}

// look reads the answer, if there is one.
func (m *Manager) look(ctx context.Context, c *certificate, pod *corev1.Pod) (bool, error) {
	request, err := m.client.CertificatesV1().PodCertificateRequests(pod.Namespace).Get(ctx, c.request, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		name := c.request
		c.request = "" // somebody deleted it: the next call asks anew
		return false, fmt.Errorf("PodCertificateRequest %q appears to have been deleted", pod.Namespace+"/"+name)
	}
	if err != nil {
		return false, fmt.Errorf("while getting PodCertificateRequest %q: %w", pod.Namespace+"/"+c.request, err)
	}
	for _, cond := range request.Status.Conditions {
		verb := ""
		switch cond.Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied:
			verb = "was denied"
		case certificatesv1.PodCertificateRequestConditionTypeFailed:
			verb = "failed"
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			c.key, c.chain = c.requestKey, clean([]byte(request.Status.CertificateChain))
			if request.Status.BeginRefreshAt != nil {
				c.renew = request.Status.BeginRefreshAt.Add(mathrand.N(spread))
			}
			if request.Status.NotAfter != nil {
				c.end = request.Status.NotAfter.Time
			}
			c.request, c.requestKey, c.toldOverdue, c.toldExpired = "", nil, false, false
			return true, nil
		}
		if verb != "" {
			c.refused = fmt.Errorf("PodCertificateRequest %s %s, reason=%q, message=%q", pod.Namespace+"/"+request.Name, verb, cond.Reason, cond.Message)
			m.recorder.Event(pod, corev1.EventTypeWarning, cond.Type, c.refused.Error())
			return false, c.refused
		}
	}
	return false, nil
}

// clean drops everything but the certificates.
func clean(chain []byte) []byte {
	var out bytes.Buffer
	for {
		var block *pem.Block
		if block, chain = pem.Decode(chain); block == nil {
			return out.Bytes()
		}
		_ = pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes})
	}
}

func generate(kind string) (crypto.PrivateKey, error) {
	switch kind {
	case "RSA3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("unknown key type %q", kind)
}
