package webhook_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	admissionapi "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// service answers reviews by a function for each path, and remembers what it was asked.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string][]*admissionapi.AdmissionRequest
}

func serve(t *testing.T, answers map[string]func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse) *service {
	s := &service{asked: map[string][]*admissionapi.AdmissionRequest{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionapi.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer := answers[r.URL.Path]
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		s.mu.Lock()
		s.asked[r.URL.Path] = append(s.asked[r.URL.Path], review.Request)
		s.mu.Unlock()
		response := answer(review.Request)
		if response == nil { // an answer that never comes
			<-r.Context().Done()
			return
		}
		response.UID = review.Request.UID
		review.Request, review.Response = nil, response
		json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) requests(path string) []*admissionapi.AdmissionRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

func (s *service) client(path string) admissionv1.WebhookClientConfig {
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return admissionv1.WebhookClientConfig{URL: ptr.To(s.URL + path), CABundle: bundle}
}

func allow(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse {
	return &admissionapi.AdmissionResponse{Allowed: true}
}

func deny(message string) func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse {
	return func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse {
		return &admissionapi.AdmissionResponse{Result: &metav1.Status{Message: message}}
	}
}

func patch(text string) func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse {
	return func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse {
		return &admissionapi.AdmissionResponse{Allowed: true, Patch: []byte(text), PatchType: ptr.To(admissionapi.PatchTypeJSONPatch)}
	}
}

func rule(resource string, operations ...admissionv1.OperationType) []admissionv1.RuleWithOperations {
	return []admissionv1.RuleWithOperations{{Operations: operations, Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{resource}}}}
}

// validate registers one validating webhook, for the time of a subtest.
func validate(t *testing.T, c kubernetes.Interface, w admissionv1.ValidatingWebhook) {
	t.Helper()
	w.Name = "check.example.com"
	if w.SideEffects == nil {
		w.SideEffects = ptr.To(admissionv1.SideEffectClassNone)
	}
	w.AdmissionReviewVersions = []string{"v1"}
	config := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "check"}, Webhooks: []admissionv1.ValidatingWebhook{w}}
	configs := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := configs.Create(t.Context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configs.Delete(context.Background(), "check", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": "1"}}
}

func TestWebhooks(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	maps := c.CoreV1().ConfigMaps("default")
	ctx := t.Context()
	s := serve(t, map[string]func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse{
		"/allow": allow, "/deny": deny("not today"), "/never": func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse { return nil },
		"/silent": func(*admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse {
			return &admissionapi.AdmissionResponse{}
		},
		"/one": patch(`[{"op":"add","path":"/data/first","value":"yes"}]`),
		"/two": func(r *admissionapi.AdmissionRequest) *admissionapi.AdmissionResponse {
			if !strings.Contains(string(r.Object.Raw), `"first":"yes"`) {
				return deny("the first webhook's change is missing")(r)
			}
			return patch(`[{"op":"add","path":"/data/second","value":"yes"}]`)(r)
		},
		"/init":  patch(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"i","image":"busybox:1"}]}]`),
		"/wrong": patch(`[{"op":"replace","path":"/data/none/at/all","value":1}]`),
	})

	refused := func(t *testing.T, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}

	t.Run("a refusal in upstream's words", func(t *testing.T) {
		validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: s.client("/deny"), Rules: rule("configmaps", admissionv1.Create, admissionv1.Delete)})
		_, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{})
		refused(t, err, `admission webhook "check.example.com" denied the request: not today`)
		if status, ok := err.(apierrors.APIStatus); !ok || status.Status().Code != http.StatusBadRequest {
			t.Errorf("status %+v", err)
		}
		if _, err := maps.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the object exists: %v", err)
		}
		asked := s.requests("/deny")
		if r := asked[len(asked)-1]; r.Name != "a" || r.Namespace != "default" || r.Operation != admissionapi.Create || r.Resource.Resource != "configmaps" ||
			r.Kind.Kind != "ConfigMap" || r.UserInfo.Username != "admin" || !strings.Contains(string(r.Object.Raw), `"kind":"ConfigMap"`) ||
			!strings.Contains(string(r.Options.Raw), `"kind":"CreateOptions"`) {
			t.Errorf("asked %+v %s", r, r.Object.Raw)
		}
		err = maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=kube-root-ca.crt"})
		if err != nil {
			refused(t, err, "denied the request")
		}
	})

	t.Run("a refusal without a word", func(t *testing.T) {
		validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: s.client("/silent"), Rules: rule("configmaps", admissionv1.OperationAll)})
		_, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{})
		refused(t, err, `admission webhook "check.example.com" denied the request without explanation`)
	})

	t.Run("a webhook that cannot be reached", func(t *testing.T) {
		nowhere := s.client("/missing")
		t.Run("refuses", func(t *testing.T) {
			validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: nowhere, Rules: rule("configmaps", admissionv1.Create)})
			_, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{})
			refused(t, err, `Internal error occurred: failed calling webhook "check.example.com": failed to call webhook: the server could not find the requested resource`)
		})
		t.Run("or is ignored", func(t *testing.T) {
			validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: nowhere, Rules: rule("configmaps", admissionv1.Create), FailurePolicy: ptr.To(admissionv1.Ignore)})
			if _, err := maps.Create(ctx, configMap("ignored"), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
		t.Run("in time", func(t *testing.T) {
			validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: s.client("/never"), Rules: rule("configmaps", admissionv1.Create), TimeoutSeconds: ptr.To[int32](1)})
			begin := time.Now()
			_, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{})
			refused(t, err, "context deadline exceeded")
			if took := time.Since(begin); took < time.Second {
				t.Errorf("given up after %v", took)
			}
		})
		t.Run("of a service that does not exist", func(t *testing.T) {
			service := admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "default", Name: "none"}}
			validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: service, Rules: rule("configmaps", admissionv1.Create)})
			_, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{})
			refused(t, err, `Post "https://none.default.svc:443?timeout=10s": services "none" not found`)
		})
	})

	t.Run("selectors and match conditions", func(t *testing.T) {
		validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: s.client("/deny"), Rules: rule("configmaps", admissionv1.Create),
			ObjectSelector:  &metav1.LabelSelector{MatchLabels: map[string]string{"checked": "yes"}},
			MatchConditions: []admissionv1.MatchCondition{{Name: "not-skipped", Expression: "object.metadata.name != 'skipped'"}}})
		for name, labels := range map[string]map[string]string{"unlabelled": nil, "skipped": {"checked": "yes"}} {
			m := configMap(name)
			m.Labels = labels
			if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		m := configMap("meant")
		m.Labels = map[string]string{"checked": "yes"}
		_, err := maps.Create(ctx, m, metav1.CreateOptions{})
		refused(t, err, "denied the request")
	})

	t.Run("dry runs are shown to webhooks without side effects only", func(t *testing.T) {
		validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: s.client("/allow"), Rules: rule("configmaps", admissionv1.Create)})
		if _, err := maps.Create(ctx, configMap("dry"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
			t.Error(err)
		}
		asked := s.requests("/allow")
		if r := asked[len(asked)-1]; r.DryRun == nil || !*r.DryRun {
			t.Error("not told that it is a dry run")
		}
	})

	t.Run("what configures webhooks is shown to none", func(t *testing.T) {
		everything := []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.OperationAll},
			Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}}}}
		validate(t, c, admissionv1.ValidatingWebhook{ClientConfig: s.client("/deny"), Rules: everything})
		// The configuration is deleted at the end of the subtest, which fails if the webhook is asked.
		if _, err := maps.Create(ctx, configMap("a"), metav1.CreateOptions{}); err == nil {
			t.Error("the webhook is not there yet")
		}
	})

	t.Run("mutations, in order and with defaults", func(t *testing.T) {
		hook := func(name, path, resource string) admissionv1.MutatingWebhook {
			return admissionv1.MutatingWebhook{Name: name, ClientConfig: s.client(path), Rules: rule(resource, admissionv1.Create),
				SideEffects: ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"}}
		}
		config := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "change"}, Webhooks: []admissionv1.MutatingWebhook{
			hook("one.example.com", "/one", "configmaps"), hook("two.example.com", "/two", "configmaps"), hook("init.example.com", "/init", "pods"),
			hook("wrong.example.com", "/wrong", "secrets"),
		}}
		if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, config, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		made, err := maps.Create(ctx, configMap("mutated"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if made.Data["first"] != "yes" || made.Data["second"] != "yes" || made.Data["a"] != "1" {
			t.Errorf("data %v", made.Data)
		}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := c.CoreV1().ServiceAccounts("default").Create(ctx, account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox:1"}}}}
		p, err := c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if i := p.Spec.InitContainers; len(i) != 1 || i[0].TerminationMessagePath != "/dev/termination-log" || i[0].ImagePullPolicy != corev1.PullIfNotPresent ||
			len(i[0].VolumeMounts) != 1 {
			t.Errorf("the new container lacks defaults, or the rules before did not see it: %+v", i)
		}
		_, err = c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
		if !apierrors.IsInternalError(err) {
			t.Errorf("a patch that does not fit: %v", err)
		}
	})
}
