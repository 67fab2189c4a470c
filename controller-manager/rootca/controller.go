package rootca

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller publishes one certificate authority.
type Controller struct {
	env        control.Env
	authority  string
	namespaces corelisters.NamespaceLister
	maps       corelisters.ConfigMapLister
	loop       *control.Loop
}

// New answers the publisher of authority, PEM.
func New(env control.Env, authority []byte) *Controller {
	namespaces := env.Informers.Core().V1().Namespaces()
	// Its own informer: of all ConfigMaps of the cluster it is to hold these only.
	maps := coreinformers.NewFilteredConfigMapInformer(env.Client, metav1.NamespaceAll, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, mapName).String()
		})
	c := &Controller{
		env: env, authority: string(authority), namespaces: namespaces.Lister(), maps: corelisters.NewConfigMapLister(maps.GetIndexer()),
	}
	c.loop = control.NewLoop(env, "root-ca-cert-publisher", 4, c.reconcile)
	c.loop.Owns(maps)
	control.Watch(c.loop, namespaces.Informer(), control.Self[*corev1.Namespace])
	control.Watch(c.loop, maps, func(m *corev1.ConfigMap) []string { return []string{m.Namespace} })
	return c
}

// Run publishes until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
