package deployment

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

var (
	kind    = appsv1.SchemeGroupVersion.WithKind("Deployment")
	setKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
)

// Controller rolls Deployments out.
type Controller struct {
	env         control.Env
	events      record.EventRecorder
	deployments appslisters.DeploymentLister
	sets        appslisters.ReplicaSetLister
	store       cache.Store   // of deployments
	setIndex    cache.Indexer // of replica sets
	podIndex    cache.Indexer
	loop        *control.Loop
	writes      control.Writes
}

// New answers the controller of Deployments.
func New(env control.Env) *Controller {
	deployments := env.Informers.Apps().V1().Deployments()
	sets := env.Informers.Apps().V1().ReplicaSets()
	pods := env.Informers.Core().V1().Pods().Informer()
	control.IndexByController(sets.Informer())
	control.IndexByController(pods)
	c := &Controller{
		env: env, events: env.Events("deployment-controller"),
		deployments: deployments.Lister(), sets: sets.Lister(),
		store: deployments.Informer().GetStore(), setIndex: sets.Informer().GetIndexer(), podIndex: pods.GetIndexer(),
	}
	c.loop = control.NewLoop(env, "deployment-controller", 5, c.reconcile)
	control.Watch(c.loop, deployments.Informer(), control.Self[*appsv1.Deployment])
	control.Watch(c.loop, sets.Informer(), c.deploymentsOf)
	control.WatchChanges(c.loop, pods, c.recreated)
	return c
}

// Run rolls out until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// deploymentsOf answers the deployment that controls set, or those that might adopt it.
func (c *Controller) deploymentsOf(set *appsv1.ReplicaSet) []string {
	if metav1.GetControllerOfNoCopy(set) != nil {
		return control.OwnerKey(set, kind)
	}
	if len(set.Labels) == 0 {
		return nil
	}
	all, err := c.deployments.Deployments(set.Namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, d := range all {
		if selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil && !selector.Empty() && selector.Matches(labels.Set(set.Labels)) {
			keys = append(keys, control.Key(d.Namespace, d.Name))
		}
	}
	return keys
}

// recreated answers the deployment of a pod that is gone, if it waits for that: only Recreate does.
func (c *Controller) recreated(old, new **corev1.Pod) []string {
	if old == nil || (new != nil && !control.Ended(*new)) {
		return nil
	}
	owner := control.OwnerKey(*old, setKind)
	if owner == nil {
		return nil
	}
	namespace, name := control.SplitKey(owner[0])
	set, err := c.sets.ReplicaSets(namespace).Get(name)
	if err != nil {
		return nil
	}
	keys := control.OwnerKey(set, kind)
	if len(keys) == 0 {
		return nil
	}
	_, name = control.SplitKey(keys[0])
	if d, err := c.deployments.Deployments(namespace).Get(name); err != nil || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return keys
}
