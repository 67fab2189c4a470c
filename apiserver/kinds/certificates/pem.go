package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// checkRequest wants one PEM block with a signed request.
func checkRequest(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}

// parseChain wants PEM blocks with certificates, and nothing else; no text at all will do.
func parseChain(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		found = true
	}
	if !found {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

// longestBundle is upstream's limit, in bytes.
const longestBundle = 1 << 20

// anchors wants PEM blocks with certificates of authorities, each once.
func anchors(l *check.List, at *field.Path, text string) {
	if len(text) > longestBundle {
		l.Add(field.TooLong(at, "", longestBundle))
		return
	}
	before := len(l.ErrorList)
	wrong := func(format string, args ...any) {
		l.Add(field.Invalid(at, "<value omitted>", fmt.Sprintf(format, args...)))
	}
	places := map[string][]int{}
	var order []string
	rest := []byte(text)
	for i := 0; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if why := notAnAnchor(block); why != "" {
			wrong("entry %d %s", i, why)
			continue
		}
		key := string(block.Bytes)
		if places[key] == nil {
			order = append(order, key)
		}
		places[key] = append(places[key], i)
	}
	if len(l.ErrorList) > before {
		return
	}
	if len(order) == 0 {
		wrong("at least one trust anchor must be provided")
	}
	for _, key := range order {
		if same := places[key]; len(same) > 1 {
			wrong("duplicate trust anchor (indices %v)", same)
		}
	}
}

// notAnAnchor says why a block cannot stand in a bundle.
func notAnAnchor(block *pem.Block) string {
	if block.Type != "CERTIFICATE" {
		return "has bad block type: " + block.Type
	}
	if len(block.Headers) != 0 {
		return "has PEM block headers"
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return "does not parse as X.509"
	case !cert.IsCA:
		return "does not have the CA bit set"
	case !cert.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}
