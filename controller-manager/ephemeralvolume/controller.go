package ephemeralvolume

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const name = "ephemeral-volume-controller"

var podKind = corev1.SchemeGroupVersion.WithKind("Pod")

// Controller makes claims.
type Controller struct {
	env    control.Env
	events record.EventRecorder
	pods   corelisters.PodLister
	claims corelisters.PersistentVolumeClaimLister
	loop   *control.Loop
}

// New answers the controller that makes claims.
func New(env control.Env) *Controller {
	core := env.Informers.Core().V1()
	c := &Controller{env: env, events: env.Events("ephemeral_volume"), pods: core.Pods().Lister(), claims: core.PersistentVolumeClaims().Lister()}
	c.loop = control.NewLoop(env, name, 4, c.reconcile)
	control.Watch(c.loop, core.Pods().Informer(), func(pod *corev1.Pod) []string {
		if pod.DeletionTimestamp != nil || !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Ephemeral != nil }) {
			return nil
		}
		return control.Self(pod)
	})
	control.WatchChanges(c.loop, core.PersistentVolumeClaims().Informer(), func(old, new **corev1.PersistentVolumeClaim) []string {
		if new != nil {
			return nil
		}
		return control.OwnerKey(*old, podKind)
	})
	return c
}

// Run makes claims until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
