package serviceaccounttokens

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFill(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &Controller{config: Config{Key: key, RootCA: []byte("PEM")}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "bot", UID: "u"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "bot-token"}}
	filled, write, err := c.fill(secret, account)
	if err != nil || !write {
		t.Fatalf("write %v, %v", write, err)
	}
	if string(filled.Data["ca.crt"]) != "PEM" || string(filled.Data["namespace"]) != "ns" || filled.Annotations[corev1.ServiceAccountUIDKey] != "u" {
		t.Errorf("filled %+v", filled)
	}
	parsed, err := jwt.ParseSigned(string(filled.Data["token"]), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var got claims
	if err := parsed.Claims(key.Public(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Issuer != legacyIssuer || got.Subject != "system:serviceaccount:ns:bot" || got.SecretName != "bot-token" || got.AccountUID != "u" {
		t.Errorf("claims %+v", got)
	}
	if _, write, _ := c.fill(filled, account); write {
		t.Error("a full secret is written again")
	}
}
