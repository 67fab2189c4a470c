package admission_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/apiserver/admission"
	"github.com/skiff-project/skiff/apiserver/apitest"
)

const fileHead = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admission.yaml")
	if err := os.WriteFile(path, []byte(fileHead+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const rateHead = "- name: EventRateLimit\n  configuration:\n    apiVersion: eventratelimit.admission.k8s.io/v1alpha1\n    kind: Configuration\n    limits: "

func TestEventRateLimit(t *testing.T) {
	path := configFile(t, rateHead+"[{type: Namespace, qps: 1, burst: 4, cacheSize: 10}, {type: SourceAndObject, qps: 1, burst: 2}]\n")
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) {
		c.EnableAdmission, c.AdmissionConfig = []string{"EventRateLimit"}, path
	}))
	ctx := context.Background()
	n := 0
	create := func(namespace, about string, opts metav1.CreateOptions) error {
		n++
		_, err := api.Client().CoreV1().Events(namespace).Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("e%d", n)},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: about}, Source: corev1.EventSource{Component: "test"}}, opts)
		return err
	}
	plain := metav1.CreateOptions{}
	for range 2 {
		if err := create("default", "one", plain); err != nil {
			t.Fatal(err)
		}
	}
	err := create("default", "one", plain)
	if !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "limit reached on type SourceAndObject for key testPoddefaultone") {
		t.Errorf("the third about one object: %v", err)
	}
	if err := create("default", "one", metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Errorf("a dry run: %v", err)
	}
	// The refused one has been counted against the namespace, too.
	if err := create("default", "two", plain); err != nil {
		t.Errorf("another object: %v", err)
	}
	_, err = api.Client().EventsV1().Events("default").Create(ctx, &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "new"}, EventTime: metav1.NowMicro(),
		ReportingController: "example.com/x", ReportingInstance: "x", Action: "a", Reason: "r", Type: "Normal", Regarding: corev1.ObjectReference{Namespace: "default"}}, plain)
	if !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "limit reached on type Namespace for key default") {
		t.Errorf("the fifth of the namespace, by the other group: %v", err)
	}
	if err := create("kube-system", "one", plain); err != nil {
		t.Errorf("another namespace: %v", err)
	}
}

func TestPodSecurityDefaults(t *testing.T) {
	path := configFile(t, "- name: PodSecurity\n  path: pods.yaml\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "pods.yaml"), []byte("apiVersion: pod-security.admission.config.k8s.io/v1\n"+
		"kind: PodSecurityConfiguration\ndefaults: {enforce: baseline}\nexemptions: {namespaces: [kube-system]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) { c.AdmissionConfig = path }))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	for namespace, ok := range map[string]bool{"default": false, "kube-system": true} {
		apitest.Eventually(t, func() error {
			if _, err := api.Client().CoreV1().ServiceAccounts(namespace).Create(context.Background(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
			return nil
		})
		_, err := api.Client().CoreV1().Pods(namespace).Create(context.Background(), pod, metav1.CreateOptions{})
		if ok != (err == nil) || !ok && !strings.Contains(err.Error(), `violates PodSecurity "baseline:latest"`) {
			t.Errorf("%s: %v", namespace, err)
		}
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{rateHead + "[]\n", "limits: Invalid value"},
		{rateHead + "[{type: X, qps: 1, burst: 1}]\n", `supported values: "Namespace", "Server", "SourceAndObject", "User"`},
		{rateHead + "[{type: Server, qps: 0, burst: 1}]\n", "limits[0].qps: Invalid value: 0: must be positive"},
		{rateHead + "[{type: User, qps: 1, burst: 1, cacheSize: -1}]\n", "must not be negative"},
		{"- {name: LimitRanger, configuration: {}}\n", `the rule "LimitRanger" takes none`},
		{"- {name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: x}}}\n", "defaults.enforce"},
		{"- {name: PodSecurity, path: missing}\n", "no such file"},
		{"- {nam: x}\n", `unknown field "nam"`},
	} {
		if _, err := admission.ReadConfigurations(configFile(t, tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
	}
	if _, err := admission.Choose(&admission.Objects{}, []string{"EventRateLimit"}, nil); err == nil || !strings.Contains(err.Error(), "no configuration has been provided") {
		t.Errorf("without a configuration: %v", err)
	}
}
