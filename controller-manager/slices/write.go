package slices

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Write makes the changes and notes them under key, so that the next reconcile sees them. In a namespace that is going
// away nothing can be created, and nothing needs to be.
func (c Changes) Write(ctx context.Context, api discoveryclient.EndpointSliceInterface, writes *control.Writes, key string, store cache.Store) error {
	var errs []error
	note := func(slice *discoveryv1.EndpointSlice, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		writes.Wrote(key, store, slice)
	}
	for _, slice := range c.Create {
		created, err := api.Create(ctx, slice, metav1.CreateOptions{})
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		note(created, err)
	}
	for _, slice := range c.Update {
		note(api.Update(ctx, slice, metav1.UpdateOptions{}))
	}
	for _, slice := range c.Delete {
		err := api.Delete(ctx, slice.Name, *metav1.NewPreconditionDeleteOptions(string(slice.UID)))
		if err == nil {
			writes.Deleted(key, slice.UID)
		} else if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
