package pvbinder

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller binds.
type Controller struct {
	env         control.Env
	events      record.EventRecorder
	claims      corelisters.PersistentVolumeClaimLister
	volumes     corelisters.PersistentVolumeLister
	classes     storagelisters.StorageClassLister
	claimStore  cache.Store
	volumeStore cache.Store
	loop        *control.Loop // of claims and volumes: the latter have no slash in their key
	writes      control.Writes
}

// binding is the key under which all writes are noted: a volume that one claim has taken must not be offered to the next,
// so nothing is decided on caches that lack any write of ours.
const binding = "binding"

// New answers the controller that binds.
func New(env control.Env) *Controller {
	core, classes := env.Informers.Core().V1(), env.Informers.Storage().V1().StorageClasses()
	claims, volumes := core.PersistentVolumeClaims(), core.PersistentVolumes()
	c := &Controller{
		env: env, events: env.Events("persistentvolume-controller"), claims: claims.Lister(), volumes: volumes.Lister(), classes: classes.Lister(),
		claimStore: claims.Informer().GetStore(), volumeStore: volumes.Informer().GetStore(),
	}
	c.loop = control.NewLoop(env, "persistent-volume-binder", 1, c.reconcile)
	control.Watch(c.loop, claims.Informer(), func(claim *corev1.PersistentVolumeClaim) []string {
		keys := control.Self(claim)
		if claim.Spec.VolumeName != "" {
			keys = append(keys, claim.Spec.VolumeName)
		}
		return keys
	})
	control.Watch(c.loop, volumes.Informer(), func(volume *corev1.PersistentVolume) []string {
		keys := []string{volume.Name}
		if ref := volume.Spec.ClaimRef; ref != nil {
			return append(keys, control.Key(ref.Namespace, ref.Name))
		}
		return append(keys, c.waiting()...) // free: for whoever waits
	})
	control.Watch(c.loop, classes.Informer(), func(*storagev1.StorageClass) []string { return c.waiting() })
	return c
}

// Run binds until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// waiting answers the claims that have no volume.
func (c *Controller) waiting() []string {
	all, err := c.claims.List(labels.Everything())
	if err != nil {
		return nil
	}
	var keys []string
	for _, claim := range all {
		if claim.Spec.VolumeName == "" {
			keys = append(keys, control.Key(claim.Namespace, claim.Name))
		}
	}
	return keys
}
