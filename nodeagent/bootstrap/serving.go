package bootstrap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiff-project/skiff/pkg/certs"
)

// Serving says where the certificate of the agent's HTTPS interface comes from.
type Serving struct {
	// CertFile and KeyFile are used as they are when given; they are read again when they change.
	CertFile, KeyFile string
	// Dir keeps a certificate that is made here.
	Dir      string
	NodeName string
	// Names are what it stands for: host names and addresses of the node.
	Names []string
	// Request has the cluster sign the certificate; somebody has to approve that. Until then a self-signed one serves.
	Request bool
	Client  kubernetes.Interface
	Log     *slog.Logger
}

// Certificate answers what a TLS listener presents. A requested certificate replaces the self-signed one when it is there.
func Certificate(ctx context.Context, s Serving) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if s.CertFile != "" || s.KeyFile != "" {
		return fromFiles(s.CertFile, s.KeyFile)
	}
	certFile, keyFile := filepath.Join(s.Dir, "serving.crt"), filepath.Join(s.Dir, "serving.key")
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	if !good(certFile, keyFile, s.Names) {
		if err := selfSign(certFile, keyFile, s); err != nil {
			return nil, fmt.Errorf("make serving certificate: %w", err)
		}
	}
	if s.Request {
		go s.keepSigned(ctx, certFile, keyFile)
	}
	return fromFiles(certFile, keyFile)
}

// fromFiles presents what the files hold, and reads them again once they have changed.
func fromFiles(certFile, keyFile string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	var mu sync.Mutex
	var have tls.Certificate
	var read time.Time
	load := func() (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		info, err := os.Stat(certFile)
		if err == nil && info.ModTime().Equal(read) {
			return &have, nil
		}
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			if !read.IsZero() {
				return &have, nil // half-written; the old one still serves
			}
			return nil, fmt.Errorf("serving certificate: %w", err)
		}
		have, read = pair, info.ModTime()
		return &have, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() }, nil
}

// good says whether a certificate is there, stands for all names and is good for another month.
func good(certFile, keyFile string, names []string) bool {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return false
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil || time.Until(leaf.NotAfter) < 30*24*time.Hour {
		return false
	}
	return !slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

func selfSign(certFile, keyFile string, s Serving) error {
	ca, err := certs.NewAuthority(s.NodeName + "-ca")
	if err != nil {
		return err
	}
	pair, err := ca.Issue(certs.Leaf{CommonName: s.NodeName, Names: s.Names, Server: true})
	if err != nil {
		return err
	}
	return write(certFile, keyFile, pair.Cert, pair.Key)
}

// write puts the key first: whoever reads in between finds the old certificate with a key that does not fit, and keeps what it has.
func write(certFile, keyFile string, cert, key []byte) error {
	return errors.Join(certs.WriteFile(keyFile, key, 0o600), certs.WriteFile(certFile, cert, 0o644))
}

// keepSigned asks the cluster for a certificate, and for the next one when a fifth of its life is left.
func (s Serving) keepSigned(ctx context.Context, certFile, keyFile string) {
	for ctx.Err() == nil {
		next, err := s.sign(ctx, certFile, keyFile)
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

func (s Serving) sign(ctx context.Context, certFile, keyFile string) (time.Time, error) {
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
	return chain[0].NotAfter.Add(-life / 5), write(certFile, keyFile, cert, keyPEM)
}
