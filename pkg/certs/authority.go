package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// backdate lets a machine whose clock is a little behind use a certificate at once.
	backdate = 5 * time.Minute
)

// Authority signs certificates. Key is nil where only the certificate is known: it can verify then, and not sign.
type Authority struct {
	Cert    *x509.Certificate
	Key     crypto.Signer
	CertPEM []byte
}

// NewAuthority makes a self-signed CA.
func NewAuthority(commonName string) (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName}, DNSNames: []string{commonName},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA %s: %w", commonName, err)
	}
	return newAuthority(der, key)
}

func newAuthority(der []byte, key crypto.Signer) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{Cert: cert, Key: key, CertPEM: EncodeCert(der)}, nil
}

// LoadAuthority reads a CA's certificate and key. The key must belong to the certificate.
func LoadAuthority(certFile, keyFile string) (*Authority, error) {
	chain, err := LoadCerts(certFile)
	if err != nil {
		return nil, err
	}
	key, err := LoadKey(keyFile)
	if err != nil {
		return nil, err
	}
	if !samePublicKey(chain[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("key file %s does not belong to certificate file %s", keyFile, certFile)
	}
	return newAuthority(chain[0].Raw, key)
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// Leaf says what a certificate is for.
type Leaf struct {
	CommonName   string
	Organization []string
	// Names are the DNS names and IP addresses that a server's certificate stands for.
	Names []string
	// Server and Client say what it may be used for.
	Server, Client bool
	// Life defaults to a year. It never passes the CA's own end.
	Life time.Duration
}

// Pair is a certificate and its key as PEM.
type Pair struct {
	Cert, Key []byte
}

// Issue makes a key and signs a certificate for it.
func (a *Authority) Issue(leaf Leaf) (Pair, error) {
	key, err := NewKey()
	if err != nil {
		return Pair{}, err
	}
	der, err := a.Sign(leaf.template(), key.Public())
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate for %s: %w", leaf.CommonName, err)
	}
	keyPEM, err := EncodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: EncodeCert(der), Key: keyPEM}, nil
}

func (l Leaf) template() *x509.Certificate {
	life := l.Life
	if life == 0 {
		life = leafLife
	}
	now := time.Now()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: l.CommonName, Organization: l.Organization},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	for _, name := range l.Names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	if l.Server {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if l.Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	return t
}

// Sign signs template for a public key and returns the certificate's DER. Serial number and CA bounds are set here:
// it is never a CA, and never outlives this one.
func (a *Authority) Sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	if a.Key == nil {
		return nil, errors.New("the CA's key is not here")
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	t := *template
	t.SerialNumber, t.IsCA, t.BasicConstraintsValid = serial, false, true
	if t.NotAfter.After(a.Cert.NotAfter) {
		t.NotAfter = a.Cert.NotAfter
	}
	if !t.NotAfter.After(time.Now()) {
		return nil, fmt.Errorf("the CA ran out on %s", a.Cert.NotAfter.Format(time.RFC3339))
	}
	return x509.CreateCertificate(rand.Reader, &t, a.Cert, public, a.Key)
}

func serialNumber() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}
