package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/apiserver/authn/oidc"
)

// issuer is an OpenID Connect provider on the loopback interface.
type issuer struct {
	*httptest.Server
	t *testing.T

	mu  sync.Mutex
	key *ecdsa.PrivateKey
	id  string
	// claims are what /claims answers: a token, made when asked.
	claims map[string]any
}

func startIssuer(t *testing.T) *issuer {
	i := &issuer{t: t}
	i.rotate("1")
	mux := http.NewServeMux()
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	answer := func(path string, body func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(body()) })
	}
	answer("/.well-known/openid-configuration", func() any { return map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"} })
	answer("/elsewhere", func() any {
		return map[string]string{"issuer": "https://not.resolved.example", "jwks_uri": i.URL + "/keys"}
	})
	answer("/keys", func() any {
		i.mu.Lock()
		defer i.mu.Unlock()
		return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: i.id, Algorithm: "ES256", Use: "sig"}}}
	})
	mux.HandleFunc("/claims", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer let-me-in" {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(i.token(i.claims)))
	})
	return i
}

// rotate replaces the key.
func (i *issuer) rotate(id string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.id = key, id
}

func (i *issuer) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
}

// token signs claims, with the usual ones filled in.
func (i *issuer) token(claims map[string]any) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return sign(i.t, i.key, i.id, i.URL, claims)
}

func sign(t *testing.T, key crypto.Signer, id, issuer string, claims map[string]any) string {
	all := map[string]any{"iss": issuer, "aud": []string{"skiff"}, "exp": time.Now().Add(time.Hour).Unix(), "sub": "ann"}
	for k, v := range claims {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(head+text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// authenticator is an entry of the file; more is appended to it.
func (i *issuer) authenticator(more string) string {
	return fmt.Sprintf("jwt:\n- issuer:\n    url: %s\n    audiences: [skiff]\n    certificateAuthority: %q\n%s", i.URL, i.ca(), more)
}

func configured(path string) apitest.Option {
	return apitest.With(func(c *apiserver.Config) {
		c.AuthenticationConfig, c.AuthenticationEvery = path, 20*time.Millisecond
	})
}

// review asks the server who a token's bearer is.
func review(t *testing.T, api *apitest.Server, token string) authenticationv1.TokenReviewStatus {
	t.Helper()
	r, err := api.Client().AuthenticationV1().TokenReviews().Create(context.Background(),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status
}

// ready waits until the issuer's keys are known.
func ready(t *testing.T, api *apitest.Server, token string) {
	t.Helper()
	apitest.Eventually(t, func() error {
		if got := review(t, api, token); !got.Authenticated {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
}

func TestClaimsAndExpressions(t *testing.T) {
	i := startIssuer(t)
	path := filepath.Join(t.TempDir(), "authn.yaml")
	write(t, path, i.authenticator(`
  claimValidationRules:
  - {claim: hd, requiredValue: example.com}
  - {expression: 'claims.exp - claims.nbf <= 7200', message: lives too long}
  claimMappings:
    username: {expression: '"people:" + claims.sub'}
    groups: {expression: 'claims.roles.split(",").map(r, "role:" + r)'}
    uid: {claim: oid}
    extra:
    - {key: example.com/team, valueExpression: claims.team.name__dot__short}
    - {key: example.com/none, valueExpression: '""'}
  userValidationRules:
  - {expression: "!user.username.startsWith('people:system:')", message: reserved name}
  - {expression: "user.groups.all(g, !g.startsWith('system:'))"}
`))
	api := apitest.Start(t, configured(path))
	now := time.Now().Unix()
	good := map[string]any{"hd": "example.com", "nbf": now, "roles": "dev,ops", "oid": "u-1", "team": map[string]any{"name.short": "core"}, "jti": "t1"}
	with := func(change map[string]any) string {
		all := map[string]any{}
		for k, v := range good {
			all[k] = v
		}
		for k, v := range change {
			all[k] = v
		}
		return i.token(all)
	}
	ready(t, api, with(map[string]any{"sub": "first"}))
	got := review(t, api, with(nil))
	want := authenticationv1.UserInfo{Username: "people:ann", UID: "u-1", Groups: []string{"role:dev", "role:ops", "system:authenticated"},
		Extra: map[string]authenticationv1.ExtraValue{"example.com/team": {"core"}, "authentication.kubernetes.io/credential-id": {"JTI=t1"}}}
	if !got.Authenticated || !reflect.DeepEqual(got.User, want) {
		t.Errorf("got %+v", got)
	}
	who, err := api.ClientFor(api.WithToken(with(nil))).AuthenticationV1().SelfSubjectReviews().Create(context.Background(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "people:ann" {
		t.Errorf("whoami: %v, %v", who, err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, token, want string }{
		{"another audience", with(map[string]any{"aud": "vault"}), `expected audience in ["skiff"] got ["vault"]`},
		{"expired", with(map[string]any{"exp": now - 1}), "oidc: token is expired"},
		{"no end", with(map[string]any{"exp": nil}), "oidc: token is expired"},
		{"not yet", with(map[string]any{"nbf": now + 3600, "exp": now + 3700}), "before the nbf"},
		{"required claim missing", with(map[string]any{"hd": nil}), "required claim hd not present in ID token"},
		{"required claim differs", with(map[string]any{"hd": "x"}), "required claim hd value does not match. Got = x, want = example.com"},
		{"rule on claims", with(map[string]any{"exp": now + 9000}), "lives too long"},
		{"rule on the user", with(map[string]any{"sub": "system:admin"}), "reserved name"},
		{"claim missing", with(map[string]any{"roles": nil}), "no such key: roles"},
		{"uid is no string", with(map[string]any{"oid": 7}), `parse uid claim "oid"`},
		{"another key", sign(t, stranger, "1", i.URL, good), "failed to verify id token signature"},
		{"another key's name", sign(t, stranger, "2", i.URL, good), "failed to verify id token signature"},
		{"another issuer", sign(t, stranger, "1", "https://other.example", good), ""},
	} {
		got := review(t, api, tt.token)
		if got.Authenticated || !strings.Contains(got.Error, tt.want) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func TestKeysAndFileMayChange(t *testing.T) {
	i := startIssuer(t)
	path := filepath.Join(t.TempDir(), "authn.yaml")
	write(t, path, "jwt: []\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n")
	api := apitest.Start(t, configured(path))
	if got := review(t, api, i.token(nil)); got.Authenticated {
		t.Errorf("nobody is trusted: %+v", got)
	}
	anonymous := api.ClientFor(api.Anonymous()).Discovery().RESTClient()
	if err := anonymous.Get().AbsPath("/livez").Do(context.Background()).Error(); err != nil {
		t.Errorf("/livez: %v", err)
	}
	if err := anonymous.Get().AbsPath("/version").Do(context.Background()).Error(); !apierrors.IsUnauthorized(err) {
		t.Errorf("/version: %v", err)
	}
	write(t, path, i.authenticator("  claimMappings: {username: {claim: sub, prefix: 'a:'}, groups: {claim: groups, prefix: 'g:'}}\n"))
	ready(t, api, i.token(nil))
	if got := review(t, api, i.token(map[string]any{"groups": "one"})); strings.Join(got.User.Groups, " ") != "g:one system:authenticated" || got.User.Username != "a:ann" {
		t.Errorf("got %+v", got)
	}
	apitest.Eventually(t, func() error { return anonymous.Get().AbsPath("/version").Do(context.Background()).Error() })
	// The issuer takes another key.
	i.rotate("2")
	ready(t, api, i.token(map[string]any{"sub": "bob"}))
	// A file that is no good changes nothing.
	write(t, path, "jwt: [{issuer: {url: 'http://x'}}]\n")
	apitest.Eventually(t, func() error {
		text, err := api.Client().Discovery().RESTClient().Get().AbsPath("/metrics").Do(context.Background()).Raw()
		if !strings.Contains(string(text), `apiserver_authentication_config_controller_automatic_reloads_total{status="failure"}`) {
			return fmt.Errorf("no failure has been counted: %v", err)
		}
		return nil
	})
	if got := review(t, api, i.token(map[string]any{"sub": "eve"})); !got.Authenticated {
		t.Errorf("after a bad file: %+v", got)
	}
}

func TestDiscoveryElsewhere(t *testing.T) {
	i := startIssuer(t)
	path := filepath.Join(t.TempDir(), "authn.yaml")
	write(t, path, fmt.Sprintf("jwt:\n- issuer: {url: 'https://not.resolved.example', discoveryURL: '%s/elsewhere', audiences: [a, skiff], audienceMatchPolicy: MatchAny, certificateAuthority: %q}\n  claimMappings: {username: {claim: email, prefix: ''}}\n", i.URL, i.ca()))
	api := apitest.Start(t, configured(path))
	token := func(claims map[string]any) string {
		i.mu.Lock()
		defer i.mu.Unlock()
		return sign(t, i.key, i.id, "https://not.resolved.example", claims)
	}
	ready(t, api, token(map[string]any{"email": "ann@example.com"}))
	if got := review(t, api, token(map[string]any{"email": "ann@example.com", "email_verified": false})); got.Authenticated || !strings.Contains(got.Error, "oidc: email not verified") {
		t.Errorf("got %+v", got)
	}
	// Neither a certificate that nobody vouches for nor an issuer that calls itself otherwise is followed.
	write(t, path, fmt.Sprintf("jwt:\n- issuer: {url: '%s', discoveryURL: '%s/elsewhere', audiences: [skiff], certificateAuthority: %q}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n", i.URL, i.URL, i.ca()))
	apitest.Eventually(t, func() error {
		got := review(t, api, i.token(nil))
		if got.Authenticated || !strings.Contains(got.Error, "issuer did not match the issuer returned by provider") {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	write(t, path, fmt.Sprintf("jwt:\n- issuer: {url: '%s', audiences: [skiff]}\n  claimMappings: {username: {claim: sub, prefix: ''}}\n", i.URL))
	apitest.Eventually(t, func() error {
		got := review(t, api, i.token(nil))
		if got.Authenticated || !strings.Contains(got.Error, "certificate") {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
}

func TestDistributedGroups(t *testing.T) {
	i, groups := startIssuer(t), startIssuer(t)
	path := filepath.Join(t.TempDir(), "authn.yaml")
	text := i.authenticator("  claimMappings: {username: {claim: sub, prefix: ''}, groups: {claim: groups, prefix: ''}}\n")
	write(t, path, strings.Replace(text, fmt.Sprintf("%q", i.ca()), fmt.Sprintf("%q", i.ca()+groups.ca()), 1))
	api := apitest.Start(t, configured(path))
	groups.claims = map[string]any{"groups": []string{"far", "away"}}
	token := func(access string) string {
		return i.token(map[string]any{"_claim_names": map[string]string{"groups": "s"},
			"_claim_sources": map[string]any{"s": map[string]string{"endpoint": groups.URL + "/claims", "access_token": access}}})
	}
	ready(t, api, token("let-me-in"))
	if got := review(t, api, token("let-me-in")); strings.Join(got.User.Groups, " ") != "far away system:authenticated" {
		t.Errorf("got %+v", got)
	}
	if got := review(t, api, token("no")); got.Authenticated || !strings.Contains(got.Error, "401") {
		t.Errorf("got %+v", got)
	}
}

func TestFlags(t *testing.T) {
	i := startIssuer(t)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(i.ca()), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := oidc.Flags{IssuerURL: i.URL, ClientID: "skiff", CAFile: ca, UsernameClaim: "sub", GroupsClaim: "groups", GroupsPrefix: "o:",
		SigningAlgs: []string{"ES256"}, RequiredClaims: map[string]string{"hd": "x"}}
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) { c.OIDC = flags }))
	ready(t, api, i.token(map[string]any{"hd": "x"}))
	got := review(t, api, i.token(map[string]any{"hd": "x", "groups": []string{"a", "b"}}))
	if got.User.Username != i.URL+"#ann" || strings.Join(got.User.Groups, " ") != "o:a o:b system:authenticated" {
		t.Errorf("got %+v", got)
	}
	if got := review(t, api, i.token(nil)); got.Authenticated {
		t.Error("a required claim is not required")
	}
	flags.SigningAlgs = []string{"HS256"}
	if _, err := oidc.New(oidc.Config{Flags: flags}); err == nil || !strings.Contains(err.Error(), `unsupported signing alg: "HS256"`) {
		t.Errorf("HS256: %v", err)
	}
	flags.ClientID = ""
	if _, err := oidc.New(oidc.Config{Flags: flags}); err == nil {
		t.Error("an issuer without a client")
	}
}

func TestBadFiles(t *testing.T) {
	good := "username: {claim: sub, prefix: ''}"
	entry := func(issuer, mappings, more string) string {
		return fmt.Sprintf("jwt:\n- issuer: {%s}\n  claimMappings: {%s}\n%s", issuer, mappings, more)
	}
	const issuer = "url: 'https://x.example', audiences: [a]"
	for _, tt := range []struct{ name, text, want string }{
		{"http", entry("url: 'http://x', audiences: [a]", good, ""), "URL scheme must be https"},
		{"query", entry("url: 'https://x?y', audiences: [a]", good, ""), "URL must not contain a query"},
		{"own issuer", entry("url: 'https://own', audiences: [a]", good, ""), "URL must not overlap with disallowed issuers: [https://own]"},
		{"no audience", entry("url: 'https://x'", good, ""), "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required"},
		{"two audiences", entry("url: 'https://x', audiences: [a, b]", good, ""), "audienceMatchPolicy must be MatchAny for multiple audiences"},
		{"CA", entry(issuer+", certificateAuthority: x", good, ""), "does not contain any valid"},
		{"no username", entry(issuer, "", ""), "jwt[0].claimMappings.username: Required value: claim or expression is required"},
		{"no prefix", entry(issuer, "username: {claim: sub}", ""), "prefix is required when claim is set"},
		{"both", entry(issuer, "username: {claim: sub, expression: claims.sub}", ""), "claim and expression can't both be set"},
		{"wrong type", entry(issuer, "username: {expression: '1'}", ""), "must evaluate to string"},
		{"does not compile", entry(issuer, "username: {expression: 'claims.'}", ""), "compilation failed"},
		{"unknown field of the user", entry(issuer, good, "  userValidationRules: [{expression: 'user.name == \"x\"'}]\n"), "undefined field 'name'"},
		{"no bool", entry(issuer, good, "  claimValidationRules: [{expression: claims.sub}]\n"), "must evaluate to bool"},
		{"mail", entry(issuer, "username: {expression: claims.email}", ""), "claims.email_verified must be used"},
		{"reserved key", entry(issuer, good+", extra: [{key: a.k8s.io/x, valueExpression: claims.sub}]", ""), "reserved for Kubernetes use"},
		{"upper case key", entry(issuer, good+", extra: [{key: a.io/X, valueExpression: claims.sub}]", ""), "must be lowercase"},
		{"twice", entry(issuer, good, "- issuer: {"+issuer+"}\n  claimMappings: {"+good+"}\n"), "Duplicate value"},
		{"anonymous", "anonymous: {enabled: false, conditions: [{path: /x}]}\n", "enabled should be set to true when conditions are defined"},
		{"unknown field", "jwts: []\n", `unknown field "jwts"`},
	} {
		path := filepath.Join(t.TempDir(), "authn.yaml")
		write(t, path, tt.text)
		_, err := oidc.New(oidc.Config{File: path, Own: []string{"https://own"}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	verified := "username: {expression: 'claims.?email_verified.orValue(true) == true ? claims.email : \"\"'}"
	path := filepath.Join(t.TempDir(), "authn.yaml")
	write(t, path, entry(issuer, verified, ""))
	if _, err := oidc.New(oidc.Config{File: path}); err != nil {
		t.Error(errors.Join(errors.New("an address that is verified in the expression"), err))
	}
}
