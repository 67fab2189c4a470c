package authn_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/pkg/certs"
)

var (
	ctx    = context.Background()
	create = metav1.CreateOptions{}
)

func whoami(api *apitest.Server, c *rest.Config) (authenticationv1.UserInfo, error) {
	r, err := api.ClientFor(c).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, create)
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return r.Status.UserInfo, nil
}

func TestCertificates(t *testing.T) {
	api := apitest.Start(t)
	u, err := whoami(api, api.As("ann", "dev", "ops"))
	if err != nil || u.Username != "ann" || strings.Join(u.Groups, " ") != "dev ops system:authenticated" || !strings.HasPrefix(u.Extra["authentication.kubernetes.io/credential-id"][0], "X509SHA256=") {
		t.Errorf("%v: %+v", err, u)
	}
	other, err := certs.NewAuthority("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := other.Issue(certs.Leaf{CommonName: "admin", Organization: []string{"system:masters"}, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	c := api.Anonymous()
	c.CertData, c.KeyData = pair.Cert, pair.Key
	if _, err := whoami(api, c); !apierrors.IsUnauthorized(err) {
		t.Errorf("certificate of another CA: %v", err)
	}
}

func TestServiceAccountTokens(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client().CoreV1()
	sa, err := c.ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bot"}}, create)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := c.Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, create)
	if err != nil {
		t.Fatal(err)
	}
	token := func(spec authenticationv1.TokenRequestSpec) string {
		t.Helper()
		r, err := c.ServiceAccounts("default").CreateToken(ctx, "bot", &authenticationv1.TokenRequest{Spec: spec}, create)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	plain := token(authenticationv1.TokenRequestSpec{})
	u, err := whoami(api, api.WithToken(plain))
	if err != nil || u.Username != "system:serviceaccount:default:bot" || u.UID != string(sa.UID) ||
		strings.Join(u.Groups, " ") != "system:serviceaccounts system:serviceaccounts:default system:authenticated" {
		t.Errorf("%v: %+v", err, u)
	}
	elsewhere := token(authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if _, err := whoami(api, api.WithToken(elsewhere)); !apierrors.IsUnauthorized(err) {
		t.Errorf("token for another audience: %v", err)
	}
	review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
		t.Helper()
		r, err := api.Client().AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, create)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if got := review(elsewhere, "vault", "x"); !got.Authenticated || strings.Join(got.Audiences, " ") != "vault" {
		t.Errorf("review: %+v", got)
	}
	parts := strings.Split(plain, ".")
	for name, bad := range map[string]string{"signature": parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), "rubbish": "a.b.c", "none": "eyJhbGciOiJub25lIn0." + parts[1] + "."} {
		if got := review(bad); got.Authenticated {
			t.Errorf("%s is good", name)
		}
	}
	// A token dies with what it is bound to. It is asked for under an audience of its own, since a token that was good
	// is remembered for a while.
	bound := token(authenticationv1.TokenRequestSpec{Audiences: []string{"a", "b"}, BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: "s", UID: secret.UID}})
	if got := review(bound, "a"); !got.Authenticated {
		t.Errorf("bound: %+v", got)
	}
	if err := c.Secrets("default").Delete(ctx, "s", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := review(bound, "b"); got.Authenticated {
		t.Error("the token outlives its secret")
	}
	if err := c.ServiceAccounts("default").Delete(ctx, "bot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := review(elsewhere, "vault"); got.Authenticated {
		t.Error("the token outlives its account")
	}
}

func TestBootstrapTokens(t *testing.T) {
	api := apitest.Start(t)
	secret := func(id string, data map[string]string) {
		t.Helper()
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id, Namespace: "kube-system"}, Type: "bootstrap.kubernetes.io/token",
			StringData: map[string]string{"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}}
		for k, v := range data {
			s.StringData[k] = v
		}
		if _, err := api.Client().CoreV1().Secrets("kube-system").Create(ctx, s, create); err != nil {
			t.Fatal(err)
		}
	}
	secret("aaaaaa", map[string]string{"auth-extra-groups": "system:bootstrappers:mine"})
	secret("bbbbbb", map[string]string{"expiration": time.Now().Add(-time.Minute).Format(time.RFC3339)})
	secret("cccccc", map[string]string{"usage-bootstrap-authentication": "false"})
	u, err := whoami(api, api.WithToken("aaaaaa.0123456789abcdef"))
	if err != nil || u.Username != "system:bootstrap:aaaaaa" || strings.Join(u.Groups, " ") != "system:bootstrappers system:bootstrappers:mine system:authenticated" {
		t.Errorf("%v: %+v", err, u)
	}
	for _, bad := range []string{"aaaaaa.0123456789abcdee", "bbbbbb.0123456789abcdef", "cccccc.0123456789abcdef", "dddddd.0123456789abcdef"} {
		if _, err := whoami(api, api.WithToken(bad)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestFrontProxy(t *testing.T) {
	api := apitest.Start(t)
	headers := map[string]string{"X-Remote-User": "ann", "X-Remote-Uid": "u1", "X-Remote-Group": "dev", "X-Remote-Extra-Scopes": "a"}
	with := func(c *rest.Config) *rest.Config {
		c.WrapTransport = func(rt http.RoundTripper) http.RoundTripper { return setHeaders{rt, headers} }
		return c
	}
	pair, err := api.CA().FrontProxyCA.Issue(certs.Leaf{CommonName: "front-proxy-client", Client: true})
	if err != nil {
		t.Fatal(err)
	}
	proxy := api.Anonymous()
	proxy.CertData, proxy.KeyData = pair.Cert, pair.Key
	u, err := whoami(api, with(proxy))
	if err != nil || u.Username != "ann" || u.UID != "u1" || strings.Join(u.Groups, " ") != "dev system:authenticated" || u.Extra["scopes"][0] != "a" {
		t.Errorf("%v: %+v", err, u)
	}
	// The headers of anybody else mean nothing.
	if u, err := whoami(api, with(api.As("bob"))); err != nil || u.Username != "bob" {
		t.Errorf("%v: %+v", err, u)
	}
}

type setHeaders struct {
	http.RoundTripper
	headers map[string]string
}

func (s setHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	for k, v := range s.headers {
		r.Header.Set(k, v)
	}
	return s.RoundTripper.RoundTrip(r)
}

func TestImpersonation(t *testing.T) {
	api := apitest.Start(t)
	admin := rest.CopyConfig(api.Config)
	admin.Impersonate = rest.ImpersonationConfig{UserName: "ann", Groups: []string{"dev"}, UID: "u1", Extra: map[string][]string{"k": {"v"}}}
	u, err := whoami(api, admin)
	if err != nil || u.Username != "ann" || u.UID != "u1" || strings.Join(u.Groups, " ") != "dev system:authenticated" || u.Extra["k"][0] != "v" {
		t.Errorf("%v: %+v", err, u)
	}
	admin.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:ns:bot"}
	if u, err := whoami(api, admin); err != nil || strings.Join(u.Groups, " ") != "system:serviceaccounts system:serviceaccounts:ns system:authenticated" {
		t.Errorf("%v: %+v", err, u)
	}
	bob := api.As("bob")
	bob.Impersonate = rest.ImpersonationConfig{UserName: "ann"}
	_, err = whoami(api, bob)
	if err == nil || !strings.Contains(err.Error(), `users "ann" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope`) {
		t.Errorf("bob: %v", err)
	}
	_, err = api.Client().RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"users"}, ResourceNames: []string{"ann"}}}}, create)
	if err == nil {
		_, err = api.Client().RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "x"},
			Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "bob"}}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "x"}}, create)
	}
	if err != nil {
		t.Fatal(err)
	}
	apitest.Eventually(t, func() error { _, err := whoami(api, bob); return err })
	// A UID and extras are rights of their own, each value of an extra by itself.
	for name, as := range map[string]rest.ImpersonationConfig{"uids": {UserName: "ann", UID: "u1"}, "userextras/scopes": {UserName: "ann", Extra: map[string][]string{"scopes": {"view"}}}} {
		bob.Impersonate = as
		if _, err := whoami(api, bob); err == nil || !strings.Contains(err.Error(), `cannot impersonate resource "`+name+`" in API group "authentication.k8s.io"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	role, err := api.Client().RbacV1().ClusterRoles().Get(ctx, "x", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = append(role.Rules,
		rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"uids"}, ResourceNames: []string{"u1"}},
		rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"userextras/scopes"}, ResourceNames: []string{"view"}})
	if _, err := api.Client().RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	bob.Impersonate = rest.ImpersonationConfig{UserName: "ann", UID: "u1", Extra: map[string][]string{"scopes": {"view"}}}
	apitest.Eventually(t, func() error {
		u, err := whoami(api, bob)
		if err == nil && (u.UID != "u1" || u.Extra["scopes"][0] != "view") {
			t.Errorf("as somebody with a UID and a scope: %+v", u)
		}
		return err
	})
	bob.Impersonate.Extra = map[string][]string{"scopes": {"view", "edit"}}
	if _, err := whoami(api, bob); !apierrors.IsForbidden(err) {
		t.Errorf("a scope that is not granted: %v", err)
	}
	bob.Impersonate = rest.ImpersonationConfig{UserName: "ann"}
	bob.Impersonate.Groups = []string{"system:masters"}
	if _, err := whoami(api, bob); !apierrors.IsForbidden(err) {
		t.Errorf("bob as a master: %v", err)
	}
}
