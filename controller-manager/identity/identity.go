package identity

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

type controllerKey struct{}

// As answers a context whose requests are made by the named controller.
func As(ctx context.Context, controller string) context.Context {
	return context.WithValue(ctx, controllerKey{}, controller)
}

// tokenLife is asked for; the server may give more or less.
const tokenLife = time.Hour

// HTTPClient answers the client to make every clientset of the process with.
func HTTPClient(config *rest.Config) (*http.Client, error) {
	own, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	// A client certificate would win over a token on the same connection, hence a second one without.
	anonymous, err := rest.TransportFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, err
	}
	asSelf := &http.Client{Transport: own}
	client, err := kubernetes.NewForConfigAndClient(config, asSelf)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &transport{own: own, anonymous: anonymous, client: client, tokens: map[string]*token{}}}, nil
}

type transport struct {
	own, anonymous http.RoundTripper
	client         kubernetes.Interface // acts as the process itself

	mu     sync.Mutex
	tokens map[string]*token
}

// token is one service account's. Its mutex is held while a new one is asked for, so that many requests ask once.
type token struct {
	mu     sync.Mutex
	value  string
	stale  time.Time
	expiry time.Time
}

func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	controller, ok := request.Context().Value(controllerKey{}).(string)
	if !ok {
		return t.own.RoundTrip(request)
	}
	entry := t.entry(controller)
	value, err := entry.get(func() (*authenticationv1.TokenRequest, error) { return t.ask(request.Context(), controller) })
	if err != nil {
		if request.Body != nil {
			request.Body.Close()
		}
		return nil, fmt.Errorf("act as service account %s/%s: %w", metav1.NamespaceSystem, controller, err)
	}
	request = request.Clone(request.Context()) // a round tripper must not change the request
	request.Header.Set("Authorization", "Bearer "+value)
	response, err := t.anonymous.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		entry.drop(value) // the account was made anew, or the signing key changed: the retry of the caller asks for another
	}
	return response, err
}

func (t *transport) entry(controller string) *token {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.tokens[controller]
	if e == nil {
		e = &token{}
		t.tokens[controller] = e
	}
	return e
}

func (t *token) get(ask func() (*authenticationv1.TokenRequest, error)) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.value != "" && now.Before(t.stale) {
		return t.value, nil
	}
	request, err := ask()
	if err != nil {
		if t.value != "" && now.Before(t.expiry) {
			return t.value, nil
		}
		return "", err
	}
	t.value, t.expiry = request.Status.Token, request.Status.ExpirationTimestamp.Time
	t.stale = now.Add(t.expiry.Sub(now) * 4 / 5)
	return t.value, nil
}

func (t *token) drop(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value == value {
		t.value = ""
	}
}

// ask gets a token, making the service account if it does not exist: on a new cluster nobody else does.
func (t *transport) ask(ctx context.Context, controller string) (*authenticationv1.TokenRequest, error) {
	accounts := t.client.CoreV1().ServiceAccounts(metav1.NamespaceSystem)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(tokenLife / time.Second))}}
	ctx = context.WithoutCancel(ctx) // others wait for this answer too
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ctx = context.WithValue(ctx, controllerKey{}, nil)
	answer, err := accounts.CreateToken(ctx, controller, request, metav1.CreateOptions{})
	if !apierrors.IsNotFound(err) {
		return answer, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: controller, Namespace: metav1.NamespaceSystem}}
	_, err = accounts.Create(ctx, account, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) { // no kube-system yet
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}
		if _, err = t.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err == nil || apierrors.IsAlreadyExists(err) {
			_, err = accounts.Create(ctx, account, metav1.CreateOptions{})
		}
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	return accounts.CreateToken(ctx, controller, request, metav1.CreateOptions{})
}
