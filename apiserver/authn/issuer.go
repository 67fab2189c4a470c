package authn

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

const (
	// softSeconds is what node agents ask for the tokens that every pod gets. Programs that read such a token once, at
	// their start, would fail an hour later; so it is good for a year, and its use after the hour is what gets noticed.
	softSeconds = 3607
	softLife    = 365 * 24 * time.Hour
)

// Issuer signs service account tokens.
type Issuer struct {
	issuer    string
	audiences []string
	max       time.Duration
	extend    bool
	signer    jose.Signer
}

// IssuerConfig says how tokens are issued.
type IssuerConfig struct {
	Issuer    string
	Key       crypto.Signer
	Audiences []string
	// MaxExpiration caps what may be asked for; 0: no cap.
	MaxExpiration time.Duration
	// NoExtend gives pods' tokens the hour that they are asked for, and not a year.
	NoExtend bool
}

// NewIssuer makes an issuer.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	alg, err := algorithmOf(cfg.Key.Public())
	if err != nil {
		return nil, err
	}
	id, err := KeyID(cfg.Key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: cfg.Key, KeyID: id}}, nil)
	if err != nil {
		return nil, fmt.Errorf("service account signing key: %w", err)
	}
	return &Issuer{issuer: cfg.Issuer, audiences: cfg.Audiences, max: cfg.MaxExpiration, extend: !cfg.NoExtend, signer: signer}, nil
}

// Audiences implements kinds.TokenIssuer.
func (i *Issuer) Audiences() []string { return i.audiences }

// MaxExpiration implements kinds.TokenIssuer.
func (i *Issuer) MaxExpiration() time.Duration { return i.max }

// IssueToken implements kinds.TokenIssuer.
func (i *Issuer) IssueToken(_ context.Context, ask kinds.TokenAsk) (string, time.Time, error) {
	audiences := ask.Audiences
	if len(audiences) == 0 {
		audiences = i.audiences
	}
	now := ask.Now
	if now.IsZero() {
		now = time.Now()
	}
	// Times in tokens are whole seconds, and the answer says what the token says.
	now = now.Truncate(time.Second)
	expires := now.Add(time.Duration(ask.Seconds) * time.Second)
	sa := ask.ServiceAccount
	public := jwt.Claims{Issuer: i.issuer, Subject: userPrefix + sa.Namespace + ":" + sa.Name, Audience: audiences, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(expires)}
	private := claims{Kubernetes: boundClaims{Namespace: sa.Namespace, Account: objectRef{sa.Name, string(sa.UID)}}}
	k := &private.Kubernetes
	if ask.Pod != nil {
		k.Pod = &objectRef{ask.Pod.Name, string(ask.Pod.UID)}
		if ask.Pod.Spec.NodeName != "" {
			k.Node = &objectRef{Name: ask.Pod.Spec.NodeName}
		}
	}
	if ask.Secret != nil {
		k.Secret = &objectRef{ask.Secret.Name, string(ask.Secret.UID)}
	}
	if ask.Node != nil {
		k.Node = &objectRef{ask.Node.Name, string(ask.Node.UID)}
	}
	forServer := !slices.ContainsFunc(audiences, func(a string) bool { return !slices.Contains(i.audiences, a) })
	if i.extend && ask.Seconds == softSeconds && ask.Pod != nil && forServer {
		k.WarnAfter = jwt.NewNumericDate(expires)
		public.Expiry = jwt.NewNumericDate(now.Add(softLife))
	}
	token, err := jwt.Signed(i.signer).Claims(public).Claims(private).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return token, expires, nil
}
