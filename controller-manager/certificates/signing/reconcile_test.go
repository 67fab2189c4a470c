package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

func newAuthority(t *testing.T, now time.Time, life time.Duration) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key}
}

func newRequest(t *testing.T) *x509.CertificateRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}, DNSNames: []string{"a"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func TestSign(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	const day = 24 * time.Hour
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	tests := []struct {
		name string
		ca   time.Duration
		life time.Duration
		end  time.Duration
		bad  bool
	}{
		{name: "a long one begins and ends early", ca: 100 * day, life: 30 * day, end: 30*day - backdate},
		{name: "a short one begins early only", ca: 100 * day, life: time.Hour, end: time.Hour},
		{name: "none outlives the authority", ca: day, life: 30 * day, end: day},
		{name: "an authority that has expired signs nothing", ca: -time.Second, life: day, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ca := newAuthority(t, now, tt.ca)
			text, err := ca.sign(newRequest(t), usages, tt.life, now)
			if tt.bad {
				if err == nil {
					t.Fatal("signed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(text)
			got, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if !got.NotBefore.Equal(now.Add(-backdate)) || !got.NotAfter.Equal(now.Add(tt.end)) || got.IsCA || got.Subject.CommonName != "system:node:a" || got.DNSNames[0] != "a" {
				t.Errorf("from %s to %s", got.NotBefore, got.NotAfter)
			}
			pool := x509.NewCertPool()
			pool.AddCert(ca.certificate)
			if _, err := got.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLife(t *testing.T) {
	for asked, want := range map[int32]time.Duration{60: shortest, 3600: time.Hour, 1 << 30: 24 * time.Hour} {
		if got := life(&asked, 24*time.Hour); got != want {
			t.Errorf("asked for %d s, got %s", asked, got)
		}
	}
	if got := life(nil, time.Hour); got != time.Hour {
		t.Errorf("not asked, got %s", got)
	}
}

func TestUnknownUsage(t *testing.T) {
	if _, _, err := keyUsages([]certificatesv1.KeyUsage{"nonsense"}); err == nil {
		t.Error("accepted")
	}
}
