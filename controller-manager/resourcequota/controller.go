package resourcequota

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/pkg/quota"
)

// Controller counts.
type Controller struct {
	env      control.Env
	quotas   corelisters.ResourceQuotaLister
	pods     corelisters.PodLister
	services corelisters.ServiceLister
	claims   corelisters.PersistentVolumeClaimLister
	store    cache.Store // of quotas
	loop     *control.Loop
	writes   control.Writes
	resolve  resolver
	// charged is when each quota was last seen to change by somebody else: a time.Time by key.
	charged sync.Map
}

// New answers the controller that counts.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	c := &Controller{
		env: env, quotas: core.ResourceQuotas().Lister(), pods: core.Pods().Lister(), services: core.Services().Lister(),
		claims: core.PersistentVolumeClaims().Lister(), store: core.ResourceQuotas().Informer().GetStore(),
		resolve: resolver{discovery: env.Discovery},
	}
	c.loop = control.NewLoop(env, "resourcequota-controller", 5, c.reconcile)
	control.WatchChanges(c.loop, core.ResourceQuotas().Informer(), c.changed)
	control.WatchChanges(c.loop, core.Pods().Informer(), func(old, new **corev1.Pod) []string {
		if old == nil || (new != nil && control.Ended(*old) == control.Ended(*new) && (*old).Generation == (*new).Generation) {
			return nil
		}
		return c.of((*old).Namespace, quota.Pods)
	})
	control.WatchChanges(c.loop, core.Services().Informer(), func(old, new **corev1.Service) []string {
		if old == nil || (new != nil && (*old).Spec.Type == (*new).Spec.Type && len((*old).Spec.Ports) == len((*new).Spec.Ports)) {
			return nil
		}
		return c.of((*old).Namespace, quota.Services)
	})
	control.WatchChanges(c.loop, core.PersistentVolumeClaims().Informer(), func(old, new **corev1.PersistentVolumeClaim) []string {
		if old == nil || new != nil {
			return nil
		}
		return c.of((*old).Namespace, quota.Claims)
	})
	return c
}

// Run counts until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// changed wakes a quota whose limits are not those of its status. A charge, which is an update of the status too, must not:
// what was charged is not stored yet, and counting then would give it back.
func (c *Controller) changed(old, new **corev1.ResourceQuota) []string {
	if new == nil {
		c.charged.Delete(control.Self(*old)[0])
		return control.Self(*old)
	}
	keys := control.Self(*new)
	if old != nil {
		if !equality.Semantic.DeepEqual((*old).Status.Used, (*new).Status.Used) {
			c.charged.Store(keys[0], c.env.Clock.Now())
		}
		if equality.Semantic.DeepEqual((*old).Spec, (*new).Spec) && equality.Semantic.DeepEqual((*new).Spec.Hard, (*new).Status.Hard) {
			return nil
		}
	}
	return keys
}

// of answers the quotas of a namespace that limit something of that source.
func (c *Controller) of(namespace string, source quota.Source) []string {
	return c.limiting(namespace, func(name corev1.ResourceName) bool { return quota.SourceOf(name) == source })
}

func (c *Controller) limiting(namespace string, limited func(corev1.ResourceName) bool) []string {
	all, err := c.quotas.ResourceQuotas(namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, q := range all {
		for name := range q.Spec.Hard {
			if limited(name) {
				keys = append(keys, control.Key(q.Namespace, q.Name))
				break
			}
		}
	}
	return keys
}

// Gone is told of every object of any kind that is no more: the garbage collector sees them all.
func (c *Controller) Gone(resource schema.GroupResource, namespace string) {
	if namespace == "" {
		return
	}
	for _, key := range c.limiting(namespace, func(name corev1.ResourceName) bool {
		r, ok := quota.CountedBy(name)
		return ok && r == resource
	}) {
		c.loop.Add(key)
	}
}
