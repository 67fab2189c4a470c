package statefulset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/history"
)

const name = "statefulset-controller"

var (
	kind    = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	podKind = corev1.SchemeGroupVersion.WithKind("Pod")
)

// Controller runs StatefulSets.
type Controller struct {
	env        control.Env
	events     record.EventRecorder
	sets       appslisters.StatefulSetLister
	claims     corelisters.PersistentVolumeClaimLister
	store      cache.Store // of sets
	podIndex   cache.Indexer
	claimStore cache.Store
	history    history.Keeper
	loop       *control.Loop
	writes     control.Writes
}

// New answers the controller of StatefulSets.
func New(env control.Env) *Controller {
	core, apps := env.Informers.Core().V1(), env.Informers.Apps().V1()
	control.IndexByController(core.Pods().Informer())
	control.IndexByController(apps.ControllerRevisions().Informer())
	c := &Controller{
		env: env, events: env.Events(name), sets: apps.StatefulSets().Lister(), claims: core.PersistentVolumeClaims().Lister(),
		store: apps.StatefulSets().Informer().GetStore(), podIndex: core.Pods().Informer().GetIndexer(),
		claimStore: core.PersistentVolumeClaims().Informer().GetStore(),
	}
	c.history = history.Keeper{Client: env.Client, Index: apps.ControllerRevisions().Informer().GetIndexer(), Writes: &c.writes}
	c.loop = control.NewLoop(env, name, 5, c.reconcile)
	control.Watch(c.loop, apps.StatefulSets().Informer(), control.Self[*appsv1.StatefulSet])
	control.Watch(c.loop, core.Pods().Informer(), c.setsOf)
	control.Watch(c.loop, apps.ControllerRevisions().Informer(), func(r *appsv1.ControllerRevision) []string { return control.OwnerKey(r, kind) })
	c.loop.Needs(core.PersistentVolumeClaims().Informer().HasSynced)
	return c
}

// Run runs StatefulSets until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// setsOf answers the set that controls pod, or those that might adopt it.
func (c *Controller) setsOf(pod *corev1.Pod) []string {
	if metav1.GetControllerOfNoCopy(pod) != nil {
		return control.OwnerKey(pod, kind)
	}
	all, err := c.sets.StatefulSets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, set := range all {
		if selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector); err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, control.Key(set.Namespace, set.Name))
		}
	}
	return keys
}
