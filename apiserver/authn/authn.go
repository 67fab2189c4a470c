package authn

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

const (
	anonymousUser   = "system:anonymous"
	authenticated   = "system:authenticated"
	unauthenticated = "system:unauthenticated"
	credentialID    = "authentication.kubernetes.io/credential-id"
)

// Config says which credentials are taken.
type Config struct {
	// ClientCAs signs client certificates. It is asked at each verification, so that a file may be read anew. Nil: none.
	ClientCAs func() *x509.CertPool
	// FrontProxy may be nil.
	FrontProxy *FrontProxy
	// ServiceAccounts may be nil.
	ServiceAccounts *ServiceAccounts
	// BootstrapTokens takes the tokens of secrets bootstrap-token-ID in kube-system.
	BootstrapTokens bool
	// Tokens knows tokens of other issuers; nil: there are none. Like those in Secrets they say nothing of this server's
	// audiences and are good for all of them.
	Tokens Tokens
	// Anonymous says whether a request for a path is let in without any credential, as system:anonymous. Nil: none is.
	Anonymous func(path string) bool
	// Store reads the objects that tokens stand for. It is asked at the first token, when the server is complete.
	Store func() kinds.Store
	// Audiences are those of this server.
	Audiences []string
	// Log defaults to slog.Default.
	Log *slog.Logger
}

// Tokens finds the users of bearer tokens. It answers nil without an error for a token that it does not know.
type Tokens interface {
	Authenticate(ctx context.Context, token string) (*request.User, error)
}

// Authenticator is the union of all ways to authenticate.
type Authenticator struct {
	cfg    Config
	certs  certCache
	tokens tokenCache
}

// New makes an authenticator.
func New(cfg Config) *Authenticator {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Authenticator{cfg: cfg}
}

// Authenticate finds out who sends a request; nil without an error is nobody who may come in.
func (a *Authenticator) Authenticate(r *http.Request) (*request.User, error) {
	var failed error
	if a.cfg.FrontProxy != nil {
		user, err := a.cfg.FrontProxy.authenticate(r)
		if user != nil {
			return user, nil
		}
		failed = errors.Join(failed, err)
	}
	if a.cfg.ClientCAs != nil && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		user, err := a.certs.authenticate(r.TLS.PeerCertificates, a.cfg.ClientCAs)
		if user != nil {
			return user, nil
		}
		failed = errors.Join(failed, err)
	}
	if token := bearer(r); token != "" {
		user, _, err := a.token(r.Context(), token, a.cfg.Audiences)
		if user != nil {
			return user, nil
		}
		if err == nil {
			err = errors.New("invalid bearer token")
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil || a.cfg.Anonymous == nil || !a.cfg.Anonymous(r.URL.Path) {
		return nil, failed
	}
	return nobody, nil
}

var nobody = &request.User{Name: anonymousUser, Groups: []string{unauthenticated}}

const socketToken = "base64url.bearer.authorization.k8s.io."

// bearer is the token of the Authorization header, or the one that a browser put among its WebSocket protocols because
// it cannot set that header.
func bearer(r *http.Request) string {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(strings.TrimSpace(h), " ")
		if strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(token)
		}
		return ""
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return ""
	}
	for _, protocol := range socketProtocols(r.Header) {
		encoded, ok := strings.CutPrefix(protocol, socketToken)
		if !ok {
			continue
		}
		token, err := base64.RawURLEncoding.DecodeString(encoded)
		if err == nil && utf8.Valid(token) {
			return string(token)
		}
	}
	return ""
}

func socketProtocols(h http.Header) []string {
	var out []string
	for _, line := range h["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(line, ",") {
			out = append(out, strings.TrimSpace(p))
		}
	}
	return out
}

// Strip removes credentials from a request's headers.
func (a *Authenticator) Strip(h http.Header) {
	h.Del("Authorization")
	if h["Sec-Websocket-Protocol"] != nil {
		rest := slices.DeleteFunc(socketProtocols(h), func(p string) bool { return strings.HasPrefix(p, socketToken) })
		h.Set("Sec-Websocket-Protocol", strings.Join(rest, ", "))
	}
	standardHeaders.strip(h)
	if a.cfg.FrontProxy != nil {
		a.cfg.FrontProxy.Headers.strip(h)
	}
}

// AuthenticateToken implements kinds.TokenAuthenticator.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string, audiences []string) (kinds.UserInfo, []string, bool, error) {
	if len(audiences) == 0 {
		audiences = a.cfg.Audiences
	}
	user, shared, err := a.token(ctx, token, audiences)
	if user == nil {
		return kinds.UserInfo{}, nil, false, err
	}
	return *user, shared, true, nil
}

// APIAudiences implements kinds.TokenAuthenticator.
func (a *Authenticator) APIAudiences() []string { return a.cfg.Audiences }

// token finds a token's user, and which of the audiences it is good for. A token that says nothing of audiences is good
// for those of this server.
func (a *Authenticator) token(ctx context.Context, token string, audiences []string) (*request.User, []string, error) {
	key := cacheKey(token, audiences)
	if hit, ok := a.tokens.get(key); ok {
		return hit.user, hit.audiences, nil
	}
	user, shared, err := a.lookUp(ctx, token, audiences)
	if user == nil || err != nil {
		return nil, nil, err
	}
	user = &request.User{Name: user.Name, UID: user.UID, Groups: append(slices.Clone(user.Groups), authenticated), Extra: user.Extra}
	a.tokens.put(key, cachedToken{user: user, audiences: shared, until: time.Now().Add(tokenTTL)})
	return user, shared, nil
}

func (a *Authenticator) lookUp(ctx context.Context, token string, audiences []string) (*request.User, []string, error) {
	if sa := a.cfg.ServiceAccounts; sa != nil && strings.Count(token, ".") == 2 {
		user, shared, err := sa.authenticate(ctx, a.cfg.Store(), token, audiences)
		if user != nil || err != nil {
			return user, shared, err
		}
	}
	var user *request.User
	var err error
	if a.cfg.BootstrapTokens && strings.Count(token, ".") == 1 {
		user, err = bootstrapUser(ctx, a.cfg.Store(), token)
	} else if a.cfg.Tokens != nil {
		user, err = a.cfg.Tokens.Authenticate(ctx, token)
	}
	if user == nil || err != nil {
		return nil, nil, err
	}
	shared := intersect(audiences, a.cfg.Audiences)
	if len(shared) == 0 {
		return nil, nil, fmt.Errorf("token: not for audiences %v", audiences)
	}
	return user, shared, nil
}

func intersect(a, b []string) []string {
	var out []string
	for _, s := range a {
		if slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}
