package client

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Informers answers the one informer factory of a process. Nothing is resynced by time: a component reconciles on
// change and retries what failed, so a periodic replay would only hide what it forgot to watch.
func Informers(client kubernetes.Interface, options ...informers.SharedInformerOption) informers.SharedInformerFactory {
	options = append([]informers.SharedInformerOption{informers.WithTransform(Strip)}, options...)
	return informers.NewSharedInformerFactoryWithOptions(client, 0, options...)
}

// Strip drops what no component of ours reads before an object enters a cache. Managed fields are a third of a typical
// pod. An update without managed fields leaves those of the server as they are, so writing back a stripped object is fine.
func Strip(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// Sync waits until every cache has seen the whole state that was there when it started.
func Sync(ctx context.Context, synced ...cache.InformerSynced) error {
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("wait for caches: %w", context.Cause(ctx))
	}
	return nil
}
