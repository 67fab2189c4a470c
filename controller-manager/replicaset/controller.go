package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Sets is a kind of object that asks for replicas, shown as ReplicaSets.
type Sets struct {
	// Name is the controller's, Events the component of its Events.
	Name, Events string
	Kind         schema.GroupVersionKind
	Informer     cache.SharedIndexInformer
	// View shows an object of the informer as a ReplicaSet (itself, or a copy).
	View func(object any) (*appsv1.ReplicaSet, bool)
	// Real is what Events about a set are attached to.
	Real func(set *appsv1.ReplicaSet) runtime.Object
	// Live reads a set from the server, and UpdateStatus writes its status.
	Live         func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error)
	UpdateStatus func(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error)
	// CountTerminating is whether the status has a field for pods that are ending.
	CountTerminating bool
}

// Controller keeps the pods of one kind of sets.
type Controller struct {
	sets   Sets
	pods   control.Pods
	env    control.Env
	index  cache.Indexer // of pods
	loop   *control.Loop
	writes control.Writes
}

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// New answers the controller of ReplicaSets.
func New(env control.Env) *Controller {
	api := env.Client.AppsV1()
	return NewFor(env, Sets{
		Name: "replicaset-controller", Events: "replicaset-controller", Kind: kind, CountTerminating: true,
		Informer: env.Informers.Apps().V1().ReplicaSets().Informer(),
		View:     func(object any) (*appsv1.ReplicaSet, bool) { rs, ok := object.(*appsv1.ReplicaSet); return rs, ok },
		Real:     func(set *appsv1.ReplicaSet) runtime.Object { return set },
		Live: func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error) {
			return api.ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		UpdateStatus: func(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
			return api.ReplicaSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{})
		},
	})
}

// NewFor answers the controller of another kind of sets.
func NewFor(env control.Env, sets Sets) *Controller {
	pods := env.Informers.Core().V1().Pods().Informer()
	control.IndexByController(pods)
	control.IndexByController(sets.Informer)
	recorder := env.Events(sets.Events)
	c := &Controller{sets: sets, env: env, index: pods.GetIndexer(), pods: control.Pods{Client: env.Client, Events: recorder}}
	c.loop = control.NewLoop(env, sets.Name, 5, c.reconcile)
	control.Watch(c.loop, sets.Informer, control.Self[metav1.Object])
	control.Watch(c.loop, pods, c.setsOf)
	return c
}

// Run keeps pods until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// setsOf answers the set that controls pod, or those that might adopt it.
func (c *Controller) setsOf(pod *corev1.Pod) []string {
	if metav1.GetControllerOfNoCopy(pod) != nil {
		return control.OwnerKey(pod, c.sets.Kind)
	}
	if len(pod.Labels) == 0 {
		return nil
	}
	objects, err := c.sets.Informer.GetIndexer().ByIndex(cache.NamespaceIndex, pod.Namespace)
	if err != nil {
		return nil
	}
	var keys []string
	for _, object := range objects {
		set, ok := c.sets.View(object)
		if !ok {
			continue
		}
		if selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector); err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, control.Key(set.Namespace, set.Name))
		}
	}
	return keys
}
