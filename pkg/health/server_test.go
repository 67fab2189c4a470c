package health

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

// reviewer answers like an API server that knows the token "good" of alice, who may get /metrics.
func reviewer() *fake.Clientset {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(action kubetesting.Action) (bool, runtime.Object, error) {
		review := action.(kubetesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		if review.Spec.Token == "good" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "alice"}}
		}
		return true, review, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(action kubetesting.Action) (bool, runtime.Object, error) {
		review := action.(kubetesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		asked := review.Spec.NonResourceAttributes
		review.Status.Allowed = review.Spec.User == "alice" && asked.Path == "/metrics" && asked.Verb == "get"
		return true, review, nil
	})
	return client
}

func TestHandler(t *testing.T) {
	sick := Check{Name: "caches", Run: func(context.Context) error { return errors.New("not synced") }}
	well := Check{Name: "caches", Run: func(context.Context) error { return nil }}
	tests := []struct {
		name, path, token string
		check             Check
		code              int
		body              string
	}{
		{name: "healthy says ok", path: "/healthz", check: well, code: 200, body: "ok"},
		{name: "verbose lists the checks", path: "/readyz?verbose", check: well, code: 200, body: "[+]ping ok\n[+]caches ok\nreadyz check passed\n"},
		{name: "a failed check is named", path: "/livez", check: sick, code: 500, body: "[+]ping ok\n[-]caches failed: not synced\nlivez check failed\n"},
		{name: "metrics need a token", path: "/metrics", check: well, code: 401},
		{name: "metrics need a known token", path: "/metrics", token: "bad", check: well, code: 401},
		{name: "metrics for whom may see them", path: "/metrics", token: "good", check: well, code: 200},
		{name: "profiles are another path", path: "/debug/pprof/heap", token: "good", check: well, code: 403, body: "Forbidden"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request := httptest.NewRequest(http.MethodGet, tt.path, nil)
			if tt.token != "" {
				request.Header.Set("Authorization", "Bearer "+tt.token)
			}
			answer := httptest.NewRecorder()
			Handler(Config{Client: reviewer(), Checks: []Check{tt.check}}).ServeHTTP(answer, request)
			if answer.Code != tt.code || !strings.HasPrefix(answer.Body.String(), tt.body) {
				t.Errorf("%s: %d %q, want %d %q", tt.path, answer.Code, answer.Body, tt.code, tt.body)
			}
		})
	}
}
