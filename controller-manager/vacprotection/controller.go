package vacprotection

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller protects classes.
type Controller struct {
	env     control.Env
	classes storagelisters.VolumeAttributesClassLister
	volumes corelisters.PersistentVolumeLister
	claims  corelisters.PersistentVolumeClaimLister
	loop    *control.Loop
}

// New answers the controller that protects classes.
func New(env control.Env) *Controller {
	core, classes := env.Informers.Core().V1(), env.Informers.Storage().V1().VolumeAttributesClasses()
	c := &Controller{
		env: env, classes: classes.Lister(), volumes: core.PersistentVolumes().Lister(), claims: core.PersistentVolumeClaims().Lister(),
	}
	c.loop = control.NewLoop(env, "volumeattributesclass-protection-controller", 1, c.reconcile)
	control.Watch(c.loop, classes.Informer(), control.Self[*storagev1.VolumeAttributesClass])
	control.WatchChanges(c.loop, core.PersistentVolumes().Informer(), left(ofVolume))
	control.WatchChanges(c.loop, core.PersistentVolumeClaims().Informer(), left(ofClaim))
	return c
}

// Run protects until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// left finds the classes that an object named and names no more.
func left[T any](classesOf func(T) []string) func(old, new *T) []string {
	return func(old, new *T) []string {
		if old == nil {
			return nil
		}
		before := classesOf(*old)
		if new == nil || len(before) == 0 {
			return before
		}
		after := classesOf(*new)
		return slices.DeleteFunc(before, func(class string) bool { return slices.Contains(after, class) })
	}
}

func ofVolume(volume *corev1.PersistentVolume) []string {
	return present(volume.Spec.VolumeAttributesClassName)
}

// ofClaim counts the class that a claim wishes for, the one it has, and the one it is being moved to.
func ofClaim(claim *corev1.PersistentVolumeClaim) []string {
	names := present(claim.Spec.VolumeAttributesClassName, claim.Status.CurrentVolumeAttributesClassName)
	if move := claim.Status.ModifyVolumeStatus; move != nil {
		names = append(names, present(&move.TargetVolumeAttributesClassName)...)
	}
	return names
}

func present(names ...*string) []string {
	var list []string
	for _, name := range names {
		if name != nil && *name != "" {
			list = append(list, *name)
		}
	}
	return list
}
