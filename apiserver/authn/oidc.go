package authn

import (
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	jose "github.com/go-jose/go-jose/v4"
)

// Paths at which others find out how to verify service account tokens.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	JWKSPath      = "/openid/v1/jwks"
)

// OpenID makes the two documents of OpenID Connect discovery. jwksURI is where JWKSPath is reached from outside.
func OpenID(issuer, jwksURI string, keys []crypto.PublicKey) (map[string]http.Handler, error) {
	var set jose.JSONWebKeySet
	var algs []string
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return nil, err
		}
		alg, err := algorithmOf(key)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(alg), Use: "sig"})
		if !slices.Contains(algs, string(alg)) {
			algs = append(algs, string(alg))
		}
	}
	slices.Sort(algs)
	jwks, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("service account keys: %w", err)
	}
	config, err := json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{issuer, jwksURI, []string{"id_token"}, []string{"public"}, algs})
	if err != nil {
		return nil, fmt.Errorf("OpenID configuration: %w", err)
	}
	return map[string]http.Handler{
		DiscoveryPath: document("application/json", config),
		JWKSPath:      document("application/jwk-set+json", jwks),
	}, nil
}

func document(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(body)
	})
}
