package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// How long a review's outcome is believed: the kubelet's defaults.
const (
	tokenTTL   = 2 * time.Minute
	allowedTTL = 5 * time.Minute
	deniedTTL  = 30 * time.Second
)

// user who asks.
type user struct {
	name   string
	uid    string
	groups []string
	extra  map[string]authorizationv1.ExtraValue
}

// auth finds out who asks and whether he may.
type auth struct {
	node      string
	client    kubernetes.Interface
	anonymous bool
	caFile    string
	tokens    cache[user]
	decisions cache[bool]

	mu      sync.Mutex // guards what follows
	cas     *x509.CertPool
	casTime time.Time
}

func newAuth(config Config) (*auth, error) {
	a := &auth{node: config.NodeName, client: config.Client, anonymous: config.Anonymous, caFile: config.ClientCAFile}
	if _, err := a.authorities(); err != nil {
		return nil, err
	}
	return a, nil
}

// authorities reads the file of client authorities again when it has changed.
func (a *auth) authorities() (*x509.CertPool, error) {
	if a.caFile == "" {
		return nil, nil
	}
	info, err := os.Stat(a.caFile)
	if err != nil {
		return nil, fmt.Errorf("client authorities: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cas != nil && info.ModTime().Equal(a.casTime) {
		return a.cas, nil
	}
	data, err := os.ReadFile(a.caFile)
	if err != nil {
		return nil, fmt.Errorf("client authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("client authorities: no certificate in %s", a.caFile)
	}
	a.cas, a.casTime = pool, info.ModTime()
	return pool, nil
}

func (a *auth) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := a.authenticate(r)
		if err != nil {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		verb, subresources := attributes(r)
		for _, sub := range subresources {
			allowed, err := a.allowed(r.Context(), who, verb, sub)
			if err != nil {
				message := fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", who.name, verb, subresources)
				http.Error(w, message, http.StatusInternalServerError)
				return
			}
			if allowed {
				next.ServeHTTP(w, r)
				return
			}
		}
		message := fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", who.name, verb, subresources)
		http.Error(w, message, http.StatusForbidden)
	})
}

var errUnauthorized = errors.New("unauthorized")

func (a *auth) authenticate(r *http.Request) (user, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if who, err := a.byCertificate(r.TLS.PeerCertificates); err == nil {
			return who, nil
		} else if !a.anonymous && r.Header.Get("Authorization") == "" {
			return user{}, err
		}
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return a.byToken(r.Context(), strings.TrimSpace(token))
	}
	if a.anonymous && r.Header.Get("Authorization") == "" {
		return user{name: "system:anonymous", groups: []string{"system:unauthenticated"}}, nil
	}
	return user{}, errUnauthorized
}

func (a *auth) byCertificate(chain []*x509.Certificate) (user, error) {
	roots, err := a.authorities()
	if err != nil || roots == nil {
		return user{}, errors.Join(errUnauthorized, err)
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return user{}, err
	}
	subject := chain[0].Subject
	if subject.CommonName == "" {
		return user{}, errUnauthorized
	}
	return user{name: subject.CommonName, groups: append(subject.Organization, "system:authenticated")}, nil
}

func (a *auth) byToken(ctx context.Context, token string) (user, error) {
	if token == "" {
		return user{}, errUnauthorized
	}
	// The token itself is not kept.
	sum := sha256.Sum256([]byte(token))
	return a.tokens.get(string(sum[:]), func() (user, time.Duration, error) {
		review, err := a.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			return user{}, 0, err
		}
		if !review.Status.Authenticated {
			return user{}, 0, errUnauthorized
		}
		u := review.Status.User
		who := user{name: u.Username, uid: u.UID, groups: u.Groups, extra: map[string]authorizationv1.ExtraValue{}}
		for k, v := range u.Extra {
			who.extra[k] = authorizationv1.ExtraValue(v)
		}
		return who, tokenTTL, nil
	})
}

func (a *auth) allowed(ctx context.Context, who user, verb, subresource string) (bool, error) {
	key := fmt.Sprintf("%q %q %q %v %s %s", who.name, who.uid, who.groups, who.extra, verb, subresource)
	return a.decisions.get(key, func() (bool, time.Duration, error) {
		review, err := a.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: who.name, UID: who.uid, Groups: who.groups, Extra: who.extra,
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: subresource, Name: a.node},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, 0, err
		}
		if review.Status.Allowed {
			return true, allowedTTL, nil
		}
		return false, deniedTTL, nil
	})
}

// attributes are the verb and the subresources of the node one of which is enough for a request.
func attributes(r *http.Request) (verb string, subresources []string) {
	verbs := map[string]string{http.MethodPost: "create", http.MethodGet: "get", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}
	under := func(path string) bool { return r.URL.Path == path || strings.HasPrefix(r.URL.Path, path+"/") }
	switch {
	case under("/stats"):
		subresources = []string{"stats"}
	case under("/metrics"):
		subresources = []string{"metrics"}
	case under("/logs"):
		subresources = []string{"log"}
	case under("/pods"), under("/runningpods"):
		subresources = []string{"pods", "proxy"}
	case under("/healthz"):
		subresources = []string{"healthz", "proxy"}
	case under("/configz"):
		subresources = []string{"configz", "proxy"}
	default:
		subresources = []string{"proxy"}
	}
	return verbs[r.Method], subresources
}

// cache remembers outcomes for a time. Errors are not remembered.
type cache[T any] struct {
	mu      sync.Mutex
	entries map[string]cached[T]
}

type cached[T any] struct {
	value T
	until time.Time
}

// maxCached bounds the memory that strangers can make us use.
const maxCached = 4096

func (c *cache[T]) get(key string, make func() (T, time.Duration, error)) (T, error) {
	now := time.Now()
	c.mu.Lock()
	e, ok := c.entries[key]
	c.mu.Unlock()
	if ok && now.Before(e.until) {
		return e.value, nil
	}
	value, ttl, err := make()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= maxCached {
		c.entries = map[string]cached[T]{}
	}
	c.entries[key] = cached[T]{value, now.Add(ttl)}
	return value, nil
}
