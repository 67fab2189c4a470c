package kinds

import (
	"context"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
)

// Names of the collaborators that hooks ask Store.Service for. The API server's door registers them; a hook that finds
// none answers 503 or 501 as upstream does for a feature that is off.
const (
	ServiceTokenIssuer   = "token-issuer"  // TokenIssuer
	ServiceAuthorizer    = "authorizer"    // Authorizer
	ServiceAuthenticator = "authenticator" // TokenAuthenticator
	ServiceClusterIPs    = "clusterips"    // *alloc.ClusterIPs
	ServiceNodePorts     = "nodeports"     // *alloc.NodePorts
)

// TokenIssuer signs service-account tokens.
type TokenIssuer interface {
	// IssueToken signs a token for sa, bound to ref's object if ref is not nil. Pod is the bound pod, secret the bound
	// secret, node the pod's or the bound node; each may be nil. It returns the token and when it expires.
	IssueToken(ctx context.Context, ask TokenAsk) (token string, expires time.Time, err error)
	// Audiences are those that a request without any gets.
	Audiences() []string
	// MaxExpiration caps what a client may ask for; 0 means no cap.
	MaxExpiration() time.Duration
}

// TokenAsk is all that goes into a service-account token.
type TokenAsk struct {
	ServiceAccount *corev1.ServiceAccount
	Pod            *corev1.Pod    // bound to it
	Secret         *corev1.Secret // bound to it
	Node           *corev1.Node   // bound to it, or the node of Pod
	Audiences      []string
	Seconds        int64
	Now            time.Time
}

// TokenAuthenticator checks a bearer token for somebody else (TokenReview).
type TokenAuthenticator interface {
	// AuthenticateToken returns the user and the audiences that the token and the request share; ok false means that the
	// token is not known.
	AuthenticateToken(ctx context.Context, token string, audiences []string) (user UserInfo, shared []string, ok bool, err error)
	// APIAudiences are those of a request that names none.
	APIAudiences() []string
}

// Access is one question to the Authorizer. Path is set for non-resource requests, all else for resource ones.
type Access struct {
	User UserInfo
	Verb string
	// Resource requests.
	Namespace, Group, Version, Resource, Subresource, Name string
	FieldSelector                                          *authorizationv1.FieldSelectorAttributes
	LabelSelector                                          *authorizationv1.LabelSelectorAttributes
	// Non-resource requests.
	NonResource bool
	Path        string
}

// Decision is an Authorizer's answer.
type Decision int

const (
	NoOpinion Decision = iota
	Allow
	Deny
)

// Authorizer answers what a user may do, as for the user's own requests.
type Authorizer interface {
	Decide(ctx context.Context, access Access) (decision Decision, reason string, err error)
	// RulesFor lists what a user may do in a namespace; incomplete says that some authorizer cannot list its rules.
	RulesFor(ctx context.Context, user UserInfo, namespace string) (resource []authorizationv1.ResourceRule,
		nonResource []authorizationv1.NonResourceRule, incomplete bool, err error)
}

// ToAuthentication is the user as the authentication API shows it.
func (u UserInfo) ToAuthentication() authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		out.Extra = make(map[string]authenticationv1.ExtraValue, len(u.Extra))
		for k, v := range u.Extra {
			out.Extra[k] = v
		}
	}
	return out
}
