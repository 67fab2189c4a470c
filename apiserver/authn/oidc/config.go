package oidc

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const kind = "AuthenticationConfiguration"

// versions of the file are alike.
var versions = []string{"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"}

// Configuration is the file.
type Configuration struct {
	metav1.TypeMeta `json:",inline"`
	JWT             []Authenticator `json:"jwt"`
	// Anonymous, if set, says who may come without credentials, in place of --anonymous-auth.
	Anonymous *Anonymous `json:"anonymous,omitempty"`
}

// Anonymous says whether requests without credentials are let in, and on which paths (none: all).
type Anonymous struct {
	Enabled    bool        `json:"enabled"`
	Conditions []Condition `json:"conditions,omitempty"`
}

// Condition is an exact path.
type Condition struct {
	Path string `json:"path"`
}

// Authenticator is an issuer and what its tokens mean.
type Authenticator struct {
	Issuer               Source        `json:"issuer"`
	ClaimValidationRules []ClaimRule   `json:"claimValidationRules,omitempty"`
	ClaimMappings        ClaimMappings `json:"claimMappings"`
	UserValidationRules  []UserRule    `json:"userValidationRules,omitempty"`
}

// Source is where tokens come from.
type Source struct {
	// URL is in every token. DiscoveryURL is where the issuer is asked instead of URL/.well-known/openid-configuration.
	URL          string  `json:"url"`
	DiscoveryURL *string `json:"discoveryURL,omitempty"`
	// CertificateAuthority is in PEM; empty for the host's.
	CertificateAuthority string   `json:"certificateAuthority,omitempty"`
	Audiences            []string `json:"audiences"`
	AudienceMatchPolicy  string   `json:"audienceMatchPolicy,omitempty"`
	// EgressSelectorType names a way out that other servers configure; there are none here.
	EgressSelectorType string `json:"egressSelectorType,omitempty"`
}

// ClaimRule is a claim with a required value, or an expression over "claims" that must be true.
type ClaimRule struct {
	Claim         string `json:"claim,omitempty"`
	RequiredValue string `json:"requiredValue,omitempty"`
	Expression    string `json:"expression,omitempty"`
	Message       string `json:"message,omitempty"`
}

// UserRule is an expression over "user" that must be true.
type UserRule struct {
	Expression string `json:"expression"`
	Message    string `json:"message,omitempty"`
}

// ClaimMappings say what the claims mean.
type ClaimMappings struct {
	Username Mapping `json:"username"`
	Groups   Mapping `json:"groups"`
	UID      Mapping `json:"uid"`
	Extra    []Extra `json:"extra,omitempty"`
}

// Mapping is a claim, with a prefix for its value, or an expression.
type Mapping struct {
	Claim      string  `json:"claim,omitempty"`
	Prefix     *string `json:"prefix,omitempty"`
	Expression string  `json:"expression,omitempty"`
}

// Extra is a key with an expression for its values.
type Extra struct {
	Key             string `json:"key"`
	ValueExpression string `json:"valueExpression"`
}

// parse reads a file strictly.
func parse(text []byte) (*Configuration, error) {
	c := &Configuration{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, err
	}
	if c.Kind != kind || !slices.Contains(versions, c.APIVersion) {
		return nil, fmt.Errorf("is a %s of %s, not a %s of %s", c.Kind, c.APIVersion, kind, versions[0])
	}
	return c, nil
}

func pool(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, errors.New("data does not contain any valid RSA or ECDSA certificates")
	}
	return pool, nil
}
