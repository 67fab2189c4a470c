package oidc

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Flags are the --oidc-* flags.
type Flags struct {
	IssuerURL, ClientID, CAFile   string
	UsernameClaim, UsernamePrefix string
	GroupsClaim, GroupsPrefix     string
	SigningAlgs                   []string
	RequiredClaims                map[string]string
}

// Set says whether an issuer has been named.
func (f *Flags) Set() bool { return f.IssuerURL != "" || f.ClientID != "" }

// configuration is what the flags mean.
func (f *Flags) configuration() (*Configuration, error) {
	if f.IssuerURL == "" || f.ClientID == "" {
		return nil, errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
	}
	source := Source{URL: f.IssuerURL, Audiences: []string{f.ClientID}}
	if f.CAFile != "" {
		pem, err := os.ReadFile(f.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		source.CertificateAuthority = string(pem)
	}
	// A name is made the issuer's own unless it is a mail address, which is taken to be one everywhere; "-" leaves it alone.
	prefix := f.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && f.UsernameClaim != "email":
		prefix = f.IssuerURL + "#"
	}
	a := Authenticator{Issuer: source, ClaimMappings: ClaimMappings{Username: Mapping{Claim: f.UsernameClaim, Prefix: &prefix}}}
	if f.GroupsClaim != "" {
		a.ClaimMappings.Groups = Mapping{Claim: f.GroupsClaim, Prefix: &f.GroupsPrefix}
	}
	for _, claim := range slices.Sorted(maps.Keys(f.RequiredClaims)) {
		a.ClaimValidationRules = append(a.ClaimValidationRules, ClaimRule{Claim: claim, RequiredValue: f.RequiredClaims[claim]})
	}
	return &Configuration{TypeMeta: metav1.TypeMeta{Kind: kind, APIVersion: versions[0]}, JWT: []Authenticator{a}}, nil
}
