// Package manifests holds what every cluster runs besides its components: the objects that `skiff up` creates.
package manifests

import (
	"bytes"
	_ "embed"
	"text/template"
)

//go:embed dns.yaml
var dns string

// Nodes is what node agents may do beyond what upstream's do.
//
//go:embed nodes.yaml
var Nodes []byte

// DNS are the values that the cluster's DNS depends on.
type DNS struct {
	// ClusterIP is the Service's, the tenth address of the service range.
	ClusterIP string
	// Domain is the cluster's.
	Domain string
	// Forward says whether names outside of the cluster are passed on to the node's own resolvers. Without a way out
	// there are none, and they are answered with NXDOMAIN at once.
	Forward bool
	// Image is CoreDNS.
	Image string
}

// DefaultDNSImage is the image that `make images` builds from cmd/dns.
const DefaultDNSImage = "registry.k8s.io/coredns/coredns:v1.15.0"

// Render returns the objects of the cluster's DNS as YAML documents.
func (d DNS) Render() ([]byte, error) {
	t, err := template.New("dns").Option("missingkey=error").Parse(dns)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, d)
	return out.Bytes(), err
}
