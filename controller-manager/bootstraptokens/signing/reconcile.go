package signing

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/controller-manager/bootstraptokens/tokens"
	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	contentKey      = "kubeconfig"
	signaturePrefix = "jws-kubeconfig-"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	info, err := c.maps.ConfigMaps(metav1.NamespacePublic).Get(mapName)
	if err != nil {
		return nil
	}
	secrets, err := c.tokens.List(labels.Everything())
	if err != nil {
		return err
	}
	now := c.env.Clock.Now()
	data, err := plan(info.Data, secrets, now)
	if err != nil {
		return err
	}
	if next := nextExpiry(secrets, now); !next.IsZero() {
		c.loop.AddAfter(key, next.Sub(now))
	}
	if maps.Equal(data, info.Data) {
		return nil
	}
	updated := info.DeepCopy()
	updated.Data = data
	_, err = c.env.Client.CoreV1().ConfigMaps(metav1.NamespacePublic).Update(ctx, updated, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}

// plan answers the data with exactly the signatures that it should have.
func plan(data map[string]string, secrets []*corev1.Secret, now time.Time) (map[string]string, error) {
	content, ok := data[contentKey]
	if !ok {
		return data, nil
	}
	wanted := map[string]string{}
	for k, v := range data {
		if !strings.HasPrefix(k, signaturePrefix) {
			wanted[k] = v
		}
	}
	for _, secret := range secrets {
		id, value, ok := tokens.ForSigning(secret, now)
		if !ok {
			continue
		}
		signature, err := sign(content, id, value)
		if err != nil {
			return nil, fmt.Errorf("sign with token %s: %w", id, err)
		}
		wanted[signaturePrefix+id] = signature
	}
	return wanted, nil
}

// sign answers the detached signature of content: a JSON web signature (HS256) without its middle part. It is made by hand
// because go-jose refuses keys as short as a bootstrap token's secret.
func sign(content, id, value string) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		Key       string `json:"kid"`
	}{"HS256", id})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	mac := hmac.New(sha256.New, []byte(value))
	mac.Write([]byte(encode(header) + "." + encode([]byte(content))))
	return encode(header) + ".." + encode(mac.Sum(nil)), nil
}

// nextExpiry answers when the first of the tokens that are valid now ends, zero if none does.
func nextExpiry(secrets []*corev1.Secret, now time.Time) time.Time {
	var first time.Time
	for _, secret := range secrets {
		if end, ends := tokens.Expiry(secret); ends && end.After(now) && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}
