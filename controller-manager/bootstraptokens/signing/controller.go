package signing

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/bootstraptokens/tokens"
	"github.com/skiff-project/skiff/controller-manager/control"
)

const (
	mapName = "cluster-info"
	mapKey  = metav1.NamespacePublic + "/" + mapName
)

// Controller signs.
type Controller struct {
	env    control.Env
	tokens corelisters.SecretLister
	maps   corelisters.ConfigMapLister
	loop   *control.Loop
}

// New answers the controller that signs.
func New(env control.Env) *Controller {
	secrets := tokens.Informer(env.Client)
	maps := coreinformers.NewFilteredConfigMapInformer(env.Client, metav1.NamespacePublic, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, mapName).String()
		})
	c := &Controller{env: env, tokens: corelisters.NewSecretLister(secrets.GetIndexer()), maps: corelisters.NewConfigMapLister(maps.GetIndexer())}
	c.loop = control.NewLoop(env, "bootstrap-signer", 1, c.reconcile)
	c.loop.Owns(secrets)
	c.loop.Owns(maps)
	control.Watch(c.loop, secrets, func(*corev1.Secret) []string { return []string{mapKey} })
	control.Watch(c.loop, maps, func(*corev1.ConfigMap) []string { return []string{mapKey} })
	return c
}

// Run signs until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
