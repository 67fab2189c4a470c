package job

import (
	"context"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// Controller runs Jobs.
type Controller struct {
	env      control.Env
	events   record.EventRecorder
	control  control.Pods
	jobs     batchlisters.JobLister
	pods     corelisters.PodLister
	store    cache.Store // of jobs
	podIndex cache.Indexer
	loop     *control.Loop
	orphans  *control.Loop // of pods with our finalizer whose Job is no more
	writes   control.Writes
}

// New answers the controller of Jobs.
func New(env control.Env) *Controller {
	jobs := env.Informers.Batch().V1().Jobs()
	pods := env.Informers.Core().V1().Pods()
	control.IndexByController(pods.Informer())
	events := env.Events("job-controller")
	c := &Controller{
		env: env, events: events, control: control.Pods{Client: env.Client, Events: events}, jobs: jobs.Lister(), pods: pods.Lister(),
		store: jobs.Informer().GetStore(), podIndex: pods.Informer().GetIndexer(),
	}
	c.loop = control.NewLoop(env, "job-controller", 5, c.reconcile)
	c.orphans = control.NewLoop(env, "job-controller", 2, c.release)
	control.Watch(c.loop, jobs.Informer(), control.Self[*batchv1.Job])
	control.Watch(c.loop, pods.Informer(), c.jobsOf)
	control.WatchChanges(c.orphans, jobs.Informer(), func(old, new **batchv1.Job) []string {
		if new != nil {
			return nil
		}
		var keys []string
		for _, pod := range control.OwnedBy[*corev1.Pod](c.podIndex, (*old).UID) {
			keys = append(keys, control.Key(pod.Namespace, pod.Name))
		}
		return keys
	})
	control.WatchChanges(c.orphans, pods.Informer(), func(_, new **corev1.Pod) []string {
		if new == nil || !tracked(*new) || c.jobOf(*new) != nil {
			return nil
		}
		return control.Self(*new)
	})
	return c
}

// Run runs Jobs until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- c.orphans.Run(ctx) }()
	err := c.loop.Run(ctx)
	if orphansErr := <-done; err == nil {
		err = orphansErr
	}
	return err
}

// jobsOf answers the job that controls pod, or those that might adopt it.
func (c *Controller) jobsOf(pod *corev1.Pod) []string {
	if metav1.GetControllerOfNoCopy(pod) != nil {
		return control.OwnerKey(pod, kind)
	}
	all, err := c.jobs.Jobs(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, j := range all {
		if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, control.Key(j.Namespace, j.Name))
		}
	}
	return keys
}

// jobOf answers the job that controls pod, if it is there.
func (c *Controller) jobOf(pod *corev1.Pod) *batchv1.Job {
	keys := control.OwnerKey(pod, kind)
	if len(keys) == 0 {
		return nil
	}
	namespace, name := control.SplitKey(keys[0])
	j, err := c.jobs.Jobs(namespace).Get(name)
	if err != nil || !metav1.IsControlledBy(pod, j) {
		return nil
	}
	return j
}

// tracked says that pod has not been counted yet.
func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}
