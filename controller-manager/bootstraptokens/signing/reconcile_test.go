package signing

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func secret(id string, change func(map[string][]byte)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Data: map[string][]byte{
		"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true"),
	}}
	if change != nil {
		change(s.Data)
	}
	return s
}

func TestPlan(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	data := map[string]string{"kubeconfig": "content", "jws-kubeconfig-old": "x", "other": "y"}
	tests := []struct {
		name   string
		secret *corev1.Secret
		signed bool
	}{
		{name: "a token that is meant for it", secret: secret("abcdef", nil), signed: true},
		{name: "not meant for it", secret: secret("abcdef", func(d map[string][]byte) { delete(d, "usage-bootstrap-signing") })},
		{name: "expired", secret: secret("abcdef", func(d map[string][]byte) { d["expiration"] = []byte(now.Add(-time.Second).Format(time.RFC3339)) })},
		{name: "not yet expired", secret: secret("abcdef", func(d map[string][]byte) { d["expiration"] = []byte(now.Add(time.Hour).Format(time.RFC3339)) }), signed: true},
		{name: "an end that cannot be read has passed", secret: secret("abcdef", func(d map[string][]byte) { d["expiration"] = []byte("tomorrow") })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := plan(data, []*corev1.Secret{tt.secret}, now)
			if err != nil {
				t.Fatal(err)
			}
			if _, signed := got["jws-kubeconfig-abcdef"]; signed != tt.signed || got["jws-kubeconfig-old"] != "" || got["other"] != "y" {
				t.Errorf("data %v", got)
			}
			if again, _ := plan(got, []*corev1.Secret{tt.secret}, now); !maps.Equal(again, got) {
				t.Error("signing is not stable")
			}
		})
	}
}

// The wanted signature is the one of upstream's own test.
func TestSignIsUpstreams(t *testing.T) {
	got, err := sign("Hello from the other side. I must have called a thousand times.", "joshua", "my voice is my passcode")
	if err != nil {
		t.Fatal(err)
	}
	if want := "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}
