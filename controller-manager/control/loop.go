package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/skiff-project/skiff/controller-manager/identity"
	"github.com/skiff-project/skiff/pkg/client"
	"github.com/skiff-project/skiff/pkg/run"
)

const (
	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 2 * time.Minute
)

// Loop reconciles keys: each by one worker at a time, again after a growing delay when it failed.
type Loop struct {
	name      string
	workers   int
	hubs      *Hubs
	reconcile func(ctx context.Context, key string) error
	queue     workqueue.TypedRateLimitingInterface[string]
	order     *fifo
	synced    []cache.InformerSynced
	owned     []cache.SharedIndexInformer
}

// NewLoop answers a loop that acts as the service account of that name, or as the process itself if it has none.
// workers is how many keys it reconciles at a time.
func NewLoop(env Env, name string, workers int, reconcile func(ctx context.Context, key string) error) *Loop {
	order := newFIFO(name)
	return &Loop{
		name: name, workers: workers, reconcile: reconcile, hubs: env.Hubs, order: order,
		// The queue has no name: a named one wakes up twice a second to measure itself.
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstBackoff, maxBackoff),
			workqueue.TypedRateLimitingQueueConfig[string]{DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(
				workqueue.TypedDelayingQueueConfig[string]{Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Queue: order})})},
		),
	}
}

// Add asks for a reconcile of key.
func (l *Loop) Add(key string) { l.queue.Add(key) }

// AddAfter asks for a reconcile of key after d.
func (l *Loop) AddAfter(key string, d time.Duration) { l.queue.AddAfter(key, max(d, 0)) }

// Needs says that the loop reads a cache, without being woken by it.
func (l *Loop) Needs(synced ...cache.InformerSynced) { l.synced = append(l.synced, synced...) }

// Owns says that informer belongs to this loop alone, which runs it: one that sees but a part of its kind.
func (l *Loop) Owns(informer cache.SharedIndexInformer) {
	if err := informer.SetTransform(client.Strip); err != nil {
		panic(fmt.Sprintf("%s: own informer: %v", l.name, err)) // only a running informer refuses
	}
	l.owned = append(l.owned, informer)
	l.synced = append(l.synced, informer.HasSynced)
}

// Watch wakes the loop for the keys that keysOf finds in an object that was added, changed (in its old and its new state)
// or deleted. keysOf is called with the informer's objects and must be quick.
func Watch[T any](l *Loop, informer cache.SharedIndexInformer, keysOf func(T) []string) {
	WatchChanges(l, informer, func(old, new *T) []string {
		switch {
		case old == nil:
			return keysOf(*new)
		case new == nil:
			return keysOf(*old)
		}
		return append(keysOf(*old), keysOf(*new)...)
	})
}

// WatchChanges is Watch for those who need to know what changed: old is nil for a new object, new for a deleted one.
func WatchChanges[T any](l *Loop, informer cache.SharedIndexInformer, keysOf func(old, new *T) []string) {
	add := func(old, new *T) {
		for _, key := range keysOf(old, new) {
			l.queue.Add(key)
		}
	}
	synced := l.hubs.Listen(informer, cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if new, ok := object.(T); ok {
				add(nil, &new)
			}
		},
		UpdateFunc: func(before, after any) {
			old, ok := before.(T)
			new, ok2 := after.(T)
			if ok && ok2 {
				add(&old, &new)
			}
		},
		DeleteFunc: func(object any) {
			if old, ok := object.(T); ok {
				add(&old, nil)
			}
		},
	})
	l.synced = append(l.synced, informer.HasSynced, synced)
}

// Self is the keysOf of an object that is its own key.
func Self[T any](object T) []string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil
	}
	return []string{Key(accessor.GetNamespace(), accessor.GetName())}
}

// Key is namespace/name, or the name alone when there is no namespace.
func Key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// SplitKey is the inverse of Key.
func SplitKey(key string) (namespace, name string) {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return "", key
	}
	return namespace, name
}

// Run waits for the caches and then reconciles until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	defer l.queue.ShutDown()
	var workers run.Workers
	defer workers.Wait()
	for _, informer := range l.owned {
		workers.Go(func() { informer.RunWithContext(ctx) })
	}
	if err := client.Sync(ctx, l.synced...); err != nil {
		return nil // only the end of ctx ends the wait
	}
	if l.name != "" {
		ctx = identity.As(ctx, l.name)
	}
	workers.Go(func() { l.dispatch(ctx, &workers) })
	<-ctx.Done()
	l.queue.ShutDown()
	return nil
}

// dispatch takes keys from the queue while a worker is free. Workers are goroutines of one key: most loops have nothing to
// do most of the time, and should cost nothing then.
func (l *Loop) dispatch(ctx context.Context, workers *run.Workers) {
	free := make(chan struct{}, l.workers)
	for {
		free <- struct{}{}
		key, stop := l.queue.Get()
		if stop {
			return
		}
		workers.Go(func() {
			l.handle(ctx, key)
			<-free
		})
	}
}

func (l *Loop) handle(ctx context.Context, key string) {
	defer l.finished(key)
	err := run.Protect(ctx, func(ctx context.Context) error { return l.reconcile(ctx, key) })
	var again *againError
	switch {
	case err == nil:
		l.queue.Forget(key)
	case errors.As(err, &again):
		l.queue.Forget(key)
		l.queue.AddAfter(key, again.after)
	case ctx.Err() != nil:
	default:
		// A conflict is the normal way to learn of somebody else's write; anything else is worth a line.
		level := slog.LevelWarn
		if apierrors.IsConflict(err) {
			level = slog.LevelDebug
		}
		slog.Log(ctx, level, "reconcile failed, will retry", "controller", l.name, "key", key, "error", err)
		l.again(key)
	}
}

// finished says that nobody works on a key any more.
func (l *Loop) finished(key string) {
	l.order.done(key)
	l.queue.Done(key)
}

// again queues a key that failed, after a growing delay.
func (l *Loop) again(key string) {
	l.order.retries.Inc()
	l.queue.AddRateLimited(key)
}

// Again is what a reconcile answers when all is well but time has to pass.
func Again(after time.Duration) error { return &againError{after} }

type againError struct{ after time.Duration }

func (a *againError) Error() string { return "again in " + a.after.String() }
