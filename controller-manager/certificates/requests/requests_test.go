package requests

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
)

func TestNodeRequests(t *testing.T) {
	node := pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}
	client := []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature}
	server := []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	tests := []struct {
		name            string
		req             x509.CertificateRequest
		usages          []certificatesv1.KeyUsage
		client, serving string // why not; empty if so
	}{
		{name: "a client", req: x509.CertificateRequest{Subject: node}, usages: client, serving: "DNS or IP subjectAltName is required"},
		{name: "a server", req: x509.CertificateRequest{Subject: node, DNSNames: []string{"a"}, IPAddresses: []net.IP{{10, 0, 0, 1}}}, usages: server, client: "DNS subjectAltNames are not allowed"},
		{name: "not a node's organization", req: x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:a", Organization: []string{"system:masters"}}}, usages: client,
			client: "subject organization is not system:nodes", serving: "subject organization is not system:nodes"},
		{name: "not a node's name", req: x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:nodes"}}}, usages: client,
			client: "subject common name does not begin with system:node:", serving: "DNS or IP subjectAltName is required"},
		{name: "usages of an authority", req: x509.CertificateRequest{Subject: node}, usages: append(client, certificatesv1.UsageCertSign),
			client: "usages did not match [client auth digital signature key encipherment]", serving: "DNS or IP subjectAltName is required"},
	}
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(NodeClient(&tt.req, tt.usages)); got != tt.client {
				t.Errorf("client: %q, want %q", got, tt.client)
			}
			if got := text(NodeServing(&tt.req, tt.usages)); got != tt.serving {
				t.Errorf("serving: %q, want %q", got, tt.serving)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
