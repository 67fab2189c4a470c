package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

const (
	// deletionGrace is how long a token outlives the deletion of what it is bound to: whoever shuts down in order may
	// still talk to the API.
	deletionGrace = 60 * time.Second
	legacyIssuer  = "kubernetes/serviceaccount"
	userPrefix    = "system:serviceaccount:"
	groupAll      = "system:serviceaccounts"

	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
	extraNodeUID  = "authentication.kubernetes.io/node-uid"
)

var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

// ServiceAccounts verifies service account tokens.
type ServiceAccounts struct {
	// Issuers are accepted; the first is the one that this server issues under.
	Issuers []string
	keys    map[string]crypto.PublicKey // by key ID
	all     []crypto.PublicKey
}

// NewServiceAccounts verifies tokens by the public keys given.
func NewServiceAccounts(issuers []string, keys []crypto.PublicKey) (*ServiceAccounts, error) {
	s := &ServiceAccounts{Issuers: issuers, keys: map[string]crypto.PublicKey{}, all: keys}
	for _, key := range keys {
		id, err := KeyID(key)
		if err != nil {
			return nil, err
		}
		s.keys[id] = key
	}
	return s, nil
}

// KeyID names a public key in token headers and in the JWKS document, as upstream does.
func KeyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("service account key: %w", err)
	}
	hash := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(hash[:]), nil
}

// claims is the private part of a bound token.
type claims struct {
	Kubernetes boundClaims `json:"kubernetes.io"`
}

type boundClaims struct {
	Namespace string           `json:"namespace,omitempty"`
	Account   objectRef        `json:"serviceaccount"`
	Pod       *objectRef       `json:"pod,omitempty"`
	Secret    *objectRef       `json:"secret,omitempty"`
	Node      *objectRef       `json:"node,omitempty"`
	WarnAfter *jwt.NumericDate `json:"warnafter,omitempty"`
}

type objectRef struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// legacyClaims is the private part of a token in a Secret.
type legacyClaims struct {
	Account   string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	Secret    string `json:"kubernetes.io/serviceaccount/secret.name"`
	Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
}

// issuerOf reads who issued a token before anything is verified: a token of somebody else is none of ours to refuse.
func issuerOf(token string) string {
	parts := strings.Split(token, ".")
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

// authenticate answers nil without an error for a token that somebody else may know.
func (s *ServiceAccounts) authenticate(ctx context.Context, store kinds.Store, token string, audiences []string) (*request.User, []string, error) {
	issuer := issuerOf(token)
	if issuer != legacyIssuer && !slices.Contains(s.Issuers, issuer) {
		return nil, nil, nil
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, nil, fmt.Errorf("service account token: %w", err)
	}
	public, bound, legacy, err := s.claims(parsed)
	if err != nil {
		return nil, nil, fmt.Errorf("service account token: %w", err)
	}
	check := checker{ctx: ctx, store: store, now: time.Now()}
	if issuer == legacyIssuer {
		user, err := check.legacy(public, legacy, token)
		return user, audiences, err
	}
	shared := intersect(audiences, public.Audience)
	if len(shared) == 0 {
		return nil, nil, fmt.Errorf("service account token: audiences %q are not valid here, expected one of %q", public.Audience, audiences)
	}
	user, err := check.bound(public, bound.Kubernetes)
	return user, shared, err
}

// claims verifies the signature, by the key that the header names if it names one.
func (s *ServiceAccounts) claims(token *jwt.JSONWebToken) (public jwt.Claims, bound claims, legacy legacyClaims, err error) {
	keys := s.all
	if len(token.Headers) > 0 {
		if key := s.keys[token.Headers[0].KeyID]; key != nil {
			keys = []crypto.PublicKey{key}
		}
	}
	err = errors.New("no key")
	for _, key := range keys {
		if err = token.Claims(key, &public, &bound, &legacy); err == nil {
			return public, bound, legacy, nil
		}
	}
	return public, bound, legacy, err
}

// checker compares claims with the objects that they name.
type checker struct {
	ctx   context.Context
	store kinds.Store
	now   time.Time
}

func (c checker) get(resource, namespace string, ref objectRef) (kinds.Object, error) {
	obj, err := c.store.Get(c.ctx, c.store.Kind(schema.GroupResource{Resource: resource}), namespace, ref.Name)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("service account token is bound to %s %s/%s, which does not exist", resource, namespace, ref.Name)
	}
	if err != nil {
		return nil, err
	}
	o := obj.(kinds.Object)
	if o.GetUID() != types.UID(ref.UID) {
		return nil, fmt.Errorf("service account token is bound to %s %s/%s with UID %s, which is %s now", resource, namespace, ref.Name, ref.UID, o.GetUID())
	}
	if d := o.GetDeletionTimestamp(); d != nil && d.Time.Before(c.now.Add(-deletionGrace)) {
		return nil, fmt.Errorf("service account token is bound to %s %s/%s, which has been deleted", resource, namespace, ref.Name)
	}
	return o, nil
}

func (c checker) bound(public jwt.Claims, k boundClaims) (*request.User, error) {
	if err := public.ValidateWithLeeway(jwt.Expected{Time: c.now}, 0); err != nil {
		return nil, fmt.Errorf("service account token: %w", err)
	}
	if public.Subject != userPrefix+k.Namespace+":"+k.Account.Name {
		return nil, errors.New("service account token: subject and account differ")
	}
	if _, err := c.get("serviceaccounts", k.Namespace, k.Account); err != nil {
		return nil, err
	}
	user := serviceAccountUser(k.Namespace, k.Account)
	extra := func(key, value string) { user.Extra[key] = []string{value} }
	if public.ID != "" {
		extra(credentialID, "JTI="+public.ID)
	}
	if k.Secret != nil {
		if _, err := c.get("secrets", k.Namespace, *k.Secret); err != nil {
			return nil, err
		}
	}
	if k.Pod != nil {
		if _, err := c.get("pods", k.Namespace, *k.Pod); err != nil {
			return nil, err
		}
		extra(extraPodName, k.Pod.Name)
		extra(extraPodUID, k.Pod.UID)
	}
	if k.Node != nil {
		// The node of a pod is information; the node that a token is bound to must be there.
		if k.Pod == nil {
			if _, err := c.get("nodes", "", *k.Node); err != nil {
				return nil, err
			}
		}
		extra(extraNodeName, k.Node.Name)
		if k.Node.UID != "" {
			extra(extraNodeUID, k.Node.UID)
		}
	}
	return user, nil
}

func serviceAccountUser(namespace string, account objectRef) *request.User {
	return &request.User{Name: userPrefix + namespace + ":" + account.Name, UID: account.UID,
		Groups: []string{groupAll, groupAll + ":" + namespace}, Extra: map[string][]string{}}
}

// Labels of the Secrets that hold tokens without an end.
const (
	labelLastUsed = "kubernetes.io/legacy-token-last-used"
	labelInvalid  = "kubernetes.io/legacy-token-invalid-since"
)

func (c checker) legacy(public jwt.Claims, l legacyClaims, token string) (*request.User, error) {
	account := objectRef{Name: l.Account, UID: l.UID}
	if l.Account == "" || l.UID == "" || l.Namespace == "" || public.Subject != userPrefix+l.Namespace+":"+l.Account {
		return nil, errors.New("service account token: claims are missing")
	}
	secretKind := c.store.Kind(schema.GroupResource{Resource: "secrets"})
	obj, err := c.store.Get(c.ctx, secretKind, l.Namespace, l.Secret)
	if err != nil {
		return nil, errors.New("service account token has been invalidated")
	}
	secret := obj.(*corev1.Secret)
	switch {
	case secret.DeletionTimestamp != nil, subtle.ConstantTimeCompare(secret.Data["token"], []byte(token)) != 1, secret.Labels[labelInvalid] != "":
		return nil, errors.New("service account token has been invalidated")
	}
	if _, err := c.get("serviceaccounts", l.Namespace, account); err != nil {
		return nil, err
	}
	if today := c.now.UTC().Format(time.DateOnly); secret.Labels[labelLastUsed] != today {
		_, err := c.store.Update(c.ctx, secretKind, l.Namespace, l.Secret, false, func(o runtime.Object) error {
			metav1.SetMetaDataLabel(&o.(*corev1.Secret).ObjectMeta, labelLastUsed, today)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return serviceAccountUser(l.Namespace, account), nil
}

// algorithmOf is the one that a key signs with.
func algorithmOf(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		case 521:
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("service account keys are RSA or ECDSA, not %T", key)
}
