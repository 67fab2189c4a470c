package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const kubeconfig = `apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
`

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admin.conf")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := Load(Config{Kubeconfig: file, Component: "proxy"})
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://10.0.0.1:6443" || config.BearerToken != "secret" {
		t.Errorf("host %q, token %q", config.Host, config.BearerToken)
	}
	if config.QPS >= 0 {
		t.Errorf("QPS %v limits the client, want none", config.QPS)
	}
	if config.ContentType != "application/vnd.kubernetes.protobuf" {
		t.Errorf("content type %q", config.ContentType)
	}
	if !strings.HasPrefix(config.UserAgent, "proxy/v1.37 ") {
		t.Errorf("user agent %q", config.UserAgent)
	}
	if json := JSON(config); json.ContentType != "application/json" || config.ContentType == json.ContentType {
		t.Errorf("JSON changed its argument or not its answer: %q, %q", json.ContentType, config.ContentType)
	}
}

func TestLoadSaysWhichFile(t *testing.T) {
	if _, err := Load(Config{Kubeconfig: "/does/not/exist"}); err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("Load: %v", err)
	}
}

func TestStrip(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}}}
	if _, err := Strip(pod); err != nil || pod.ManagedFields != nil || pod.Name != "a" {
		t.Errorf("Strip: %v, %v", pod, err)
	}
	if got, err := Strip("a tombstone"); err != nil || got != "a tombstone" {
		t.Errorf("Strip of no object: %v, %v", got, err)
	}
}
