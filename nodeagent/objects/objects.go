package objects

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// Kind of object.
type Kind string

// The kinds that pods refer to by name.
const (
	ConfigMap Kind = "configmaps"
	Secret    Kind = "secrets"
)

// Ref names an object.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

const (
	// patience is how long a reader waits for the first answer about an object.
	patience = 10 * time.Second
	// linger is how long an object is watched after the last pod that names it has gone: the next one often comes at once.
	linger = time.Minute
)

// Cache of the objects that pods refer to.
type Cache struct {
	client  kubernetes.Interface
	log     *slog.Logger
	ctx     context.Context
	changed func(types.UID)

	mu      sync.Mutex
	items   map[Ref]*item
	pods    map[types.UID]map[Ref]bool
	running sync.WaitGroup
}

// item is one object; known is closed once it is known whether it exists.
type item struct {
	cancel context.CancelFunc
	users  map[types.UID]bool
	expire *time.Timer

	known  chan struct{}
	object runtime.Object // nil: does not exist
	err    error          // the last failure to find out
}

// New returns a cache whose watches end with ctx. changed is called, from any goroutine, for each pod that refers to an object
// that has changed.
func New(ctx context.Context, client kubernetes.Interface, log *slog.Logger, changed func(types.UID)) *Cache {
	return &Cache{ctx: ctx, client: client, log: log, changed: changed, items: map[Ref]*item{}, pods: map[types.UID]map[Ref]bool{}}
}

// Register says what a pod refers to now. A pod that refers to nothing any more is forgotten.
func (c *Cache) Register(uid types.UID, refs map[Ref]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.pods[uid]
	for ref := range refs {
		if !before[ref] {
			c.acquire(ref, uid)
		}
	}
	for ref := range before {
		if !refs[ref] {
			c.release(ref, uid)
		}
	}
	if len(refs) == 0 {
		delete(c.pods, uid)
	} else {
		c.pods[uid] = refs
	}
}

func (c *Cache) acquire(ref Ref, uid types.UID) {
	it := c.items[ref]
	if it == nil {
		ctx, cancel := context.WithCancel(c.ctx)
		it = &item{cancel: cancel, users: map[types.UID]bool{}, known: make(chan struct{})}
		c.items[ref] = it
		c.running.Go(func() { c.follow(ctx, ref, it) })
	}
	if it.expire != nil {
		it.expire.Stop()
		it.expire = nil
	}
	it.users[uid] = true
}

func (c *Cache) release(ref Ref, uid types.UID) {
	it := c.items[ref]
	if it == nil {
		return
	}
	delete(it.users, uid)
	if len(it.users) > 0 {
		return
	}
	it.expire = time.AfterFunc(linger, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.items[ref] == it && len(it.users) == 0 {
			it.cancel()
			delete(c.items, ref)
		}
	})
}

// Wait returns when all watches have ended, after ctx has.
func (c *Cache) Wait() { c.running.Wait() }

// follow keeps an item up to date until ctx ends.
func (c *Cache) follow(ctx context.Context, ref Ref, it *item) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		version, err := c.read(ctx, ref, it)
		if err == nil {
			pause = 100 * time.Millisecond
			err = c.watch(ctx, ref, it, version)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			c.log.Debug("object not watched, trying again", "kind", ref.Kind, "namespace", ref.Namespace, "name", ref.Name, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, 10*time.Second)
		}
	}
}

func (c *Cache) read(ctx context.Context, ref Ref, it *item) (version string, err error) {
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", ref.Name).String()}
	var found runtime.Object
	switch ref.Kind {
	case ConfigMap:
		list, e := c.client.CoreV1().ConfigMaps(ref.Namespace).List(ctx, options)
		if err = e; err == nil {
			version = list.ResourceVersion
			if len(list.Items) > 0 {
				found = &list.Items[0]
			}
		}
	case Secret:
		list, e := c.client.CoreV1().Secrets(ref.Namespace).List(ctx, options)
		if err = e; err == nil {
			version = list.ResourceVersion
			if len(list.Items) > 0 {
				found = &list.Items[0]
			}
		}
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		c.fail(it, err)
		return "", err
	}
	c.learn(it, found)
	return version, nil
}

func (c *Cache) watch(ctx context.Context, ref Ref, it *item, version string) error {
	options := metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", ref.Name).String(), ResourceVersion: version, AllowWatchBookmarks: true,
	}
	for ctx.Err() == nil {
		w, err := c.open(ctx, ref, options)
		if err != nil {
			return err
		}
		next, err := c.consume(it, w)
		w.Stop()
		if err != nil {
			return err
		}
		if next != "" {
			options.ResourceVersion = next
		}
	}
	return nil
}

func (c *Cache) open(ctx context.Context, ref Ref, options metav1.ListOptions) (watch.Interface, error) {
	if ref.Kind == Secret {
		return c.client.CoreV1().Secrets(ref.Namespace).Watch(ctx, options)
	}
	return c.client.CoreV1().ConfigMaps(ref.Namespace).Watch(ctx, options)
}

// consume reads a watch to its end and answers the version to go on from.
func (c *Cache) consume(it *item, w watch.Interface) (version string, err error) {
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			return "", apierrors.FromObject(e.Object)
		}
		m, ok := e.Object.(metav1.Object)
		if !ok {
			return "", fmt.Errorf("unexpected object %T", e.Object)
		}
		version = m.GetResourceVersion()
		switch e.Type {
		case watch.Added, watch.Modified:
			c.learn(it, e.Object)
		case watch.Deleted:
			c.learn(it, nil)
		}
	}
	return version, nil
}

func (c *Cache) learn(it *item, object runtime.Object) {
	if m, ok := object.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	c.mu.Lock()
	first := !isClosed(it.known)
	same := !first && versionOf(it.object) == versionOf(object)
	it.object, it.err = object, nil
	if first {
		close(it.known)
	}
	var users []types.UID
	if !same {
		for uid := range it.users {
			users = append(users, uid)
		}
	}
	c.mu.Unlock()
	if first {
		return // whoever needs it is waiting for it
	}
	for _, uid := range users {
		c.changed(uid)
	}
}

func (c *Cache) fail(it *item, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it.err = err
}

func versionOf(o runtime.Object) string {
	if m, ok := o.(metav1.Object); ok && o != nil {
		return string(m.GetUID()) + "/" + m.GetResourceVersion()
	}
	return ""
}

func isClosed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// get waits until it is known whether an object exists.
func (c *Cache) get(ref Ref) (runtime.Object, error) {
	c.mu.Lock()
	it := c.items[ref]
	c.mu.Unlock()
	if it == nil {
		return nil, fmt.Errorf("object %q/%q not registered", ref.Namespace, ref.Name)
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	select {
	case <-it.known:
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	case <-deadline.C:
		c.mu.Lock()
		err := it.err
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("failed to sync %s cache: timed out waiting for the condition", ref.Kind)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if it.object == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: singular(ref.Kind)}, ref.Name)
	}
	return it.object, nil
}

// singular is how the kubelet words the kind in its own "not found".
func singular(k Kind) string {
	if k == Secret {
		return "secret"
	}
	return "configmap"
}

// ConfigMap returns a ConfigMap that a registered pod refers to. It is shared: do not change it.
func (c *Cache) ConfigMap(namespace, name string) (*corev1.ConfigMap, error) {
	o, err := c.get(Ref{Kind: ConfigMap, Namespace: namespace, Name: name})
	if err != nil {
		return nil, err
	}
	return o.(*corev1.ConfigMap), nil
}

// Secret returns a Secret that a registered pod refers to. It is shared: do not change it.
func (c *Cache) Secret(namespace, name string) (*corev1.Secret, error) {
	o, err := c.get(Ref{Kind: Secret, Namespace: namespace, Name: name})
	if err != nil {
		return nil, err
	}
	return o.(*corev1.Secret), nil
}
