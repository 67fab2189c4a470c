package disruption

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller keeps budgets.
type Controller struct {
	env       control.Env
	events    record.EventRecorder
	budgets   policylisters.PodDisruptionBudgetLister
	pods      corelisters.PodLister
	workloads informers.SharedInformerFactory
	store     cache.Store // of budgets
	loop      *control.Loop
	stale     *control.Loop // of pods whose eviction came to nothing
	writes    control.Writes
}

// New answers the controller of budgets.
func New(env control.Env) *Controller {
	budgets := env.Informers.Policy().V1().PodDisruptionBudgets()
	pods := env.Informers.Core().V1().Pods()
	c := &Controller{
		env: env, events: env.Events("controllermanager"), budgets: budgets.Lister(), pods: pods.Lister(), workloads: env.Informers,
		store: budgets.Informer().GetStore(),
	}
	c.loop = control.NewLoop(env, "disruption-controller", 2, c.reconcile)
	c.stale = control.NewLoop(env, "disruption-controller", 1, c.clear)
	control.Watch(c.loop, budgets.Informer(), control.Self[*policyv1.PodDisruptionBudget])
	control.WatchChanges(c.loop, pods.Informer(), func(old, new **corev1.Pod) []string {
		if old != nil && new != nil && sameForBudgets(*old, *new) {
			return nil
		}
		var keys []string
		for _, pod := range []**corev1.Pod{old, new} {
			if pod != nil {
				keys = append(keys, c.selecting(*pod)...)
			}
		}
		return keys
	})
	control.Watch(c.stale, pods.Informer(), func(pod *corev1.Pod) []string {
		if !marked(pod) {
			return nil
		}
		return control.Self(pod)
	})
	apps := env.Informers.Apps().V1()
	for _, informer := range []cache.SharedIndexInformer{apps.Deployments().Informer(), apps.ReplicaSets().Informer(), apps.StatefulSets().Informer(), env.Informers.Core().V1().ReplicationControllers().Informer()} {
		c.loop.Needs(informer.HasSynced)
		control.WatchChanges(c.loop, informer, func(old, new *metav1.Object) []string {
			if old != nil && new != nil && (*old).GetGeneration() == (*new).GetGeneration() {
				return nil
			}
			if old == nil || new == nil {
				return nil // its pods come or go, and wake the budgets
			}
			return c.all((*new).GetNamespace())
		})
	}
	return c
}

// Run keeps budgets until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- c.stale.Run(ctx) }()
	err := c.loop.Run(ctx)
	if staleErr := <-done; err == nil {
		err = staleErr
	}
	return err
}

func sameForBudgets(a, b *corev1.Pod) bool {
	return control.Ready(a) == control.Ready(b) && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		control.Ended(a) == control.Ended(b) && labels.Equals(a.Labels, b.Labels)
}

func (c *Controller) all(namespace string) []string {
	budgets, err := c.budgets.PodDisruptionBudgets(namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, b := range budgets {
		keys = append(keys, control.Key(b.Namespace, b.Name))
	}
	return keys
}

func (c *Controller) selecting(pod *corev1.Pod) []string {
	budgets, err := c.budgets.PodDisruptionBudgets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, b := range budgets {
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, control.Key(b.Namespace, b.Name))
		}
	}
	return keys
}
