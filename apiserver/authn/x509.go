package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/skiff-project/skiff/apiserver/request"
)

// uidOID is the attribute of a certificate's subject that carries the user's UID.
var uidOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

func verify(chain []*x509.Certificate, roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fmt.Errorf("verifying certificate SN=%s failed: %w", chain[0].SerialNumber, err)
	}
	return nil
}

// certUser is the user of a verified certificate: common name, organizations as groups, UID.
func certUser(cert *x509.Certificate) (*request.User, error) {
	if cert.Subject.CommonName == "" {
		return nil, nil
	}
	hash := sha256.Sum256(cert.Raw)
	user := &request.User{Name: cert.Subject.CommonName, Groups: append(append([]string{}, cert.Subject.Organization...), authenticated),
		Extra: map[string][]string{credentialID: {"X509SHA256=" + hex.EncodeToString(hash[:])}}}
	for _, name := range cert.Subject.Names {
		if !name.Type.Equal(uidOID) {
			continue
		}
		uid, ok := name.Value.(string)
		switch {
		case !ok:
			return nil, errors.New("unable to parse UID into a string")
		case uid == "":
			return nil, errors.New("UID cannot be an empty string")
		case user.UID != "":
			return nil, errors.New("expected 1 UID, but found multiple")
		}
		user.UID = uid
	}
	return user, nil
}
