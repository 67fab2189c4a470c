package tokens

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	namePrefix = "bootstrap-token-"
	expiry     = "expiration"
)

// Informer answers an informer of bootstrap tokens.
func Informer(client kubernetes.Interface) cache.SharedIndexInformer {
	return coreinformers.NewFilteredSecretInformer(client, metav1.NamespaceSystem, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeBootstrapToken)).String()
		})
}

// Expiry answers when a token ends; false if never. A time that cannot be read has passed: a token must not live longer
// than its maker wanted because of a typing error.
func Expiry(secret *corev1.Secret) (time.Time, bool) {
	text := string(secret.Data[expiry])
	if text == "" {
		return time.Time{}, false
	}
	end, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, true
	}
	return end, true
}

// ForSigning answers the two parts of a token that is valid and meant for signing the cluster's info.
func ForSigning(secret *corev1.Secret, now time.Time) (id, value string, ok bool) {
	id, value = string(secret.Data["token-id"]), string(secret.Data["token-secret"])
	if id == "" || value == "" || secret.Name != namePrefix+id || string(secret.Data["usage-bootstrap-signing"]) != "true" {
		return "", "", false
	}
	if end, ends := Expiry(secret); ends && !now.Before(end) {
		return "", "", false
	}
	return id, value, true
}
