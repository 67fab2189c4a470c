package registry

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/watchcache"
)

// collectionWorkers is how many objects of a collection are deleted at once.
const collectionWorkers = 8

// DeleteCollection deletes what opts selects, each as by itself, and returns what was selected. The first refusal ends
// it; what is gone stays gone.
func (res *Resource) DeleteCollection(ctx context.Context, w *Write, opts watchcache.ListOptions, del *metav1.DeleteOptions) (*watchcache.List, error) {
	if res.Kind.WarnDelete != nil {
		warn(ctx, res.Kind.WarnDelete(del)) // once, and also if nothing is there
	}
	list, err := res.List(ctx, w, opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan *watchcache.Object)
	var workers sync.WaitGroup
	for range min(collectionWorkers, len(list.Items)) {
		workers.Go(func() {
			for o := range todo {
				each := *w
				each.Namespace, each.Name = o.Namespace, o.Name
				if _, err := res.Delete(ctx, &each, del); err != nil && !apierrors.IsNotFound(err) {
					cancel(err)
					return
				}
			}
		})
	}
	for _, o := range list.Items {
		select {
		case todo <- o:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(todo)
	workers.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return list, nil
}
