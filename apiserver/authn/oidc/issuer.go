package oidc

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/skiff-project/skiff/apiserver/request"
)

// Algorithms are those that an issuer may sign with.
var Algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512}

const (
	wellKnown    = "/.well-known/openid-configuration"
	credentialID = "authentication.kubernetes.io/credential-id"
	// skew is how far ahead of ours an issuer's clock may be.
	skew = 5 * time.Minute
)

// issuer verifies the tokens of one issuer and makes users of them.
type issuer struct {
	cfg        *Authenticator
	compiled   *compiled
	algorithms []jose.SignatureAlgorithm
	keys       *keys
	client     *http.Client
	now        func() time.Time
	// others are issuers that vouch for single claims.
	others others
}

func newIssuer(cfg *Authenticator, c *compiled, algorithms []jose.SignatureAlgorithm) (*issuer, error) {
	roots, err := pool(cfg.Issuer.CertificateAuthority)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: askTimeout, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: askTimeout, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}}
	discovery := strings.TrimSuffix(cfg.Issuer.URL, "/") + wellKnown
	if d := cfg.Issuer.DiscoveryURL; d != nil && *d != "" {
		discovery = *d
	}
	return &issuer{cfg: cfg, compiled: c, algorithms: algorithms, client: client, now: time.Now,
		keys: &keys{issuer: cfg.Issuer.URL, discovery: discovery, client: client}}, nil
}

// run asks the issuer until it answers. An issuer may well run on this cluster.
func (i *issuer) run(ctx context.Context, failed func(error)) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := i.keys.discover(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		failed(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (i *issuer) close() { i.client.CloseIdleConnections() }

// issuerOf reads who issued a token, before anything is verified.
func issuerOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return ""
	}
	return c.Issuer
}

// authenticate makes a user of a token of this issuer.
func (i *issuer) authenticate(ctx context.Context, token string) (*request.User, error) {
	if err := i.keys.ready(); err != nil {
		return nil, err
	}
	c, err := verify(ctx, token, i.keys, i.algorithms, i.cfg.Issuer.Audiences, i.now())
	if err != nil {
		return nil, fmt.Errorf("oidc: verify token: %w", err)
	}
	if err := i.expand(ctx, c); err != nil {
		return nil, fmt.Errorf("oidc: could not expand distributed claims: %w", err)
	}
	return i.user(ctx, c)
}

// verify checks a token's signature, issuer, audience and times, and returns its claims.
func verify(ctx context.Context, token string, keys *keys, algorithms []jose.SignatureAlgorithm, audiences []string, now time.Time) (claims, error) {
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("oidc: malformed jwt: %w", err)
	}
	payload, err := keys.verify(ctx, signed)
	if err != nil {
		return nil, err
	}
	var std jwt.Claims
	var c claims
	if err := errors.Join(json.Unmarshal(payload, &std), json.Unmarshal(payload, &c)); err != nil {
		return nil, fmt.Errorf("oidc: failed to unmarshal claims: %w", err)
	}
	switch {
	case std.Issuer != keys.issuer:
		return nil, fmt.Errorf("oidc: id token issued by a different provider, expected %q got %q", keys.issuer, std.Issuer)
	case !slices.ContainsFunc(audiences, std.Audience.Contains):
		return nil, fmt.Errorf("oidc: expected audience in %q got %q", audiences, []string(std.Audience))
	case std.Expiry == nil || !now.Before(std.Expiry.Time()):
		return nil, fmt.Errorf("oidc: token is expired (Token Expiry: %v)", std.Expiry.Time())
	case std.NotBefore != nil && now.Add(skew).Before(std.NotBefore.Time()):
		return nil, fmt.Errorf("oidc: current time %v before the nbf (not before) time: %v", now, std.NotBefore.Time())
	}
	return c, nil
}
