package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// certificate that the server shows, read from files that may be replaced while it runs.
type certificate struct {
	certFile, keyFile string

	mu     sync.Mutex
	loaded *tls.Certificate
	time   time.Time
}

func openCertificate(config Config) (*certificate, error) {
	c := &certificate{certFile: config.CertFile, keyFile: config.KeyFile}
	if (c.certFile == "") != (c.keyFile == "") {
		return nil, errors.New("the certificate of the node API needs both --tls-cert-file and --tls-private-key-file")
	}
	if c.certFile == "" {
		c.certFile, c.keyFile = filepath.Join(config.CertDir, "nodeagent.crt"), filepath.Join(config.CertDir, "nodeagent.key")
		if err := ensureSelfSigned(c.certFile, c.keyFile, config); err != nil {
			return nil, fmt.Errorf("certificate of the node API: %w", err)
		}
	}
	_, err := c.get(nil)
	return c, err
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	info, err := os.Stat(c.certFile)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil && (err != nil || info.ModTime().Equal(c.time)) {
		return c.loaded, nil
	}
	if err != nil {
		return nil, fmt.Errorf("certificate of the node API: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		if c.loaded != nil {
			return c.loaded, nil // half replaced: the next handshake sees both
		}
		return nil, fmt.Errorf("certificate of the node API: %w", err)
	}
	c.loaded, c.time = &pair, info.ModTime()
	return c.loaded, nil
}

// ensureSelfSigned makes a certificate for this node unless there is one that still serves for a while.
func ensureSelfSigned(certFile, keyFile string, config Config) error {
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && serves(pair.Leaf, config) {
		return nil
	}
	if err := os.MkdirAll(config.CertDir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "system:node:" + config.NodeName, Organization: []string{"system:nodes"}},
		NotBefore:    time.Now().Add(-5 * time.Minute),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{config.NodeName},
	}
	for _, ip := range config.IPs {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func serves(cert *x509.Certificate, config Config) bool {
	if cert == nil || time.Until(cert.NotAfter) < 30*24*time.Hour || cert.VerifyHostname(config.NodeName) != nil {
		return false
	}
	for _, ip := range config.IPs {
		if cert.VerifyHostname(ip) != nil {
			return false
		}
	}
	return true
}
