package serviceaccounttokens

import (
	"context"
	"crypto"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Config is what goes into the Secrets.
type Config struct {
	// Key signs the tokens; RootCA, PEM, is put beside them.
	Key    crypto.Signer
	RootCA []byte
}

// Controller fills Secrets.
type Controller struct {
	env      control.Env
	config   Config
	secrets  corelisters.SecretLister
	index    cache.Indexer
	accounts corelisters.ServiceAccountLister
	loop     *control.Loop
}

// New answers the controller that fills Secrets.
func New(env control.Env, config Config) *Controller {
	secrets := coreinformers.NewFilteredSecretInformer(env.Client, metav1.NamespaceAll, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("type", string(corev1.SecretTypeServiceAccountToken)).String()
		})
	accounts := env.Informers.Core().V1().ServiceAccounts()
	c := &Controller{env: env, config: config, secrets: corelisters.NewSecretLister(secrets.GetIndexer()), index: secrets.GetIndexer(), accounts: accounts.Lister()}
	// It acts as the process itself does for upstream: no role of a service account covers Secrets of all namespaces.
	c.loop = control.NewLoop(env, "", 2, c.reconcile)
	c.loop.Owns(secrets)
	control.Watch(c.loop, secrets, control.Self[*corev1.Secret])
	control.WatchChanges(c.loop, accounts.Informer(), func(old, new **corev1.ServiceAccount) []string {
		if old != nil && new != nil {
			return nil
		}
		account := new
		if account == nil {
			account = old
		}
		return c.of(*account)
	})
	return c
}

// Run fills Secrets until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// of answers the Secrets of an account.
func (c *Controller) of(account *corev1.ServiceAccount) []string {
	objects, err := c.index.ByIndex(cache.NamespaceIndex, account.Namespace)
	if err != nil {
		return nil
	}
	var keys []string
	for _, object := range objects {
		if secret, ok := object.(*corev1.Secret); ok && secret.Annotations[corev1.ServiceAccountNameKey] == account.Name {
			keys = append(keys, control.Key(secret.Namespace, secret.Name))
		}
	}
	return keys
}
