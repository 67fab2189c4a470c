package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiff-project/skiff/pkg/certs"
)

// Serving is the certificate of the agent's HTTPS interface, when the cluster is to sign it.
type Serving struct {
	// CertFile and KeyFile are written; whoever serves reads them again when they change.
	CertFile, KeyFile string
	NodeName          string
	// Names are what it stands for: host names and addresses of the node.
	Names  []string
	Client kubernetes.Interface
	Log    *slog.Logger
}

// KeepSigned asks the cluster for a certificate, and for the next one when a fifth of its life is left, until ctx ends. Somebody has
// to approve each request; until then what is in the files serves.
func (s Serving) KeepSigned(ctx context.Context) {
	for ctx.Err() == nil {
		next, err := s.sign(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.Log.Warn("serving certificate not signed, trying again", "err", err)
			}
			next = time.Now().Add(time.Minute)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(next)):
		}
	}
}

func (s Serving) sign(ctx context.Context) (time.Time, error) {
	key, err := certs.NewKey()
	if err != nil {
		return time.Time{}, err
	}
	keyPEM, err := certs.EncodeKey(key)
	if err != nil {
		return time.Time{}, err
	}
	text, err := certs.NewRequest(key, certs.Leaf{CommonName: "system:node:" + s.NodeName, Organization: []string{"system:nodes"}, Names: s.Names})
	if err != nil {
		return time.Time{}, err
	}
	cert, err := Sign(ctx, s.Client, "csr-", certificatesv1.CertificateSigningRequestSpec{Request: text, SignerName: certificatesv1.KubeletServingSignerName,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}}, 0, s.Log)
	if err != nil {
		return time.Time{}, err
	}
	chain, err := certs.ParseCerts(cert)
	if err != nil || len(chain) == 0 {
		return time.Time{}, fmt.Errorf("signed certificate: %w", err)
	}
	life := chain[0].NotAfter.Sub(chain[0].NotBefore)
	return chain[0].NotAfter.Add(-life / 5), write(s.CertFile, s.KeyFile, cert, keyPEM)
}

// write puts the key first: whoever reads in between finds the old certificate with a key that does not fit, and keeps what it has.
func write(certFile, keyFile string, cert, key []byte) error {
	return errors.Join(certs.WriteFile(keyFile, key, 0o600), certs.WriteFile(certFile, cert, 0o644))
}
