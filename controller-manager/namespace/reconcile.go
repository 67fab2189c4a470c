package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/discovered"
)

const (
	// look is how soon to look again at what is left: what waits for finalizers or for containers to stop tells nobody.
	look = time.Second
	// slowLook is the same once a namespace has been terminating for longer than impatience.
	slowLook   = 5 * time.Second
	impatience = time.Minute
	// settle is how old a deletion must be before the namespace goes: until then another API server may still admit
	// objects into it, by what it last knew.
	settle = time.Second
)

func (c *Controller) reconcile(ctx context.Context, name string) error {
	cached, err := c.namespaces.Get(name)
	if err != nil || cached.DeletionTimestamp == nil {
		return nil
	}
	api := c.env.Client.CoreV1().Namespaces()
	namespace, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if namespace.DeletionTimestamp == nil || !slices.Contains(namespace.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return nil
	}
	if namespace.Status.Phase != corev1.NamespaceTerminating {
		namespace.Status.Phase = corev1.NamespaceTerminating
		if namespace, err = api.UpdateStatus(ctx, namespace, metav1.UpdateOptions{}); err != nil {
			return ignoreNotFound(err)
		}
	}
	found, empty, emptyErr := c.empty(ctx, namespace)
	if setConditions(&namespace.Status, found.conditions(c.env.Clock.Now())) {
		updated, err := api.UpdateStatus(ctx, namespace, metav1.UpdateOptions{})
		if err != nil {
			return ignoreNotFound(err)
		}
		namespace = updated
	}
	if emptyErr != nil {
		return emptyErr
	}
	age := c.env.Clock.Since(namespace.DeletionTimestamp.Time)
	switch {
	case !empty && age > impatience:
		return control.Again(slowLook)
	case !empty:
		return control.Again(look)
	case age < settle:
		return control.Again(settle - age)
	}
	namespace.Spec.Finalizers = slices.DeleteFunc(namespace.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err = api.Finalize(ctx, namespace, metav1.UpdateOptions{})
	return ignoreNotFound(err)
}

// empty deletes everything in namespace that it can find, and says whether nothing is left.
func (c *Controller) empty(ctx context.Context, namespace *corev1.Namespace) (findings, bool, error) {
	found := findings{remaining: map[schema.GroupVersionResource]int{}, finalizers: map[string]int{}}
	resources, err := discovered.List(c.env.Discovery)
	found.discovery = err
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	var mu sync.Mutex
	sweep := func(r discovered.Resource) {
		left, err := c.sweep(ctx, r, namespace)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			if r.Resource == "pods" && r.Group == "" {
				err = fmt.Errorf("failed to delete pods for namespace: %s, err: %w", namespace.Name, err)
			}
			errs = append(errs, err)
			found.failures = append(found.failures, err.Error())
		}
		if len(left) > 0 {
			found.remaining[r.GroupVersionResource] = len(left)
		}
		for _, object := range left {
			for _, finalizer := range object.Finalizers {
				found.finalizers[finalizer]++
			}
		}
	}

	var others []discovered.Resource
	for _, r := range resources {
		switch {
		case !r.Namespaced || !r.Can("delete"):
		case r.Group == "" && r.Resource == "pods":
			sweep(r)
		default:
			others = append(others, r)
		}
	}
	if len(found.remaining) > 0 {
		return found, false, errors.Join(errs...)
	}
	found.counted = true
	_ = control.Each(ctx, len(others), func(_ context.Context, i int) error { sweep(others[i]); return nil })
	return found, len(found.remaining) == 0 && len(errs) == 0, errors.Join(errs...)
}

// sweep deletes all objects of one kind and answers those that are still there.
func (c *Controller) sweep(ctx context.Context, r discovered.Resource, namespace *corev1.Namespace) ([]metav1.PartialObjectMetadata, error) {
	api := c.env.Metadata.Resource(r.GroupVersionResource).Namespace(namespace.Name)
	background := metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
	list := func() ([]metav1.PartialObjectMetadata, error) {
		if !r.Can("list") {
			return nil, nil
		}
		answer, err := api.List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			return nil, nil // the kind itself is gone by now
		}
		if err != nil {
			return nil, err
		}
		return answer.Items, nil
	}
	// Most kinds have nothing in most namespaces: one list finds that out, and there is nothing to delete then.
	left, err := list()
	if err != nil || len(left) == 0 {
		return nil, err
	}
	if r.Can("deletecollection") {
		if err := api.DeleteCollection(ctx, background, metav1.ListOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
			return left, err
		}
	} else {
		err := control.Each(ctx, len(left), func(ctx context.Context, i int) error {
			return ignoreNotFound(api.Delete(ctx, left[i].Name, background))
		})
		if err != nil {
			return left, err
		}
	}
	if left, err = list(); err != nil {
		return left, err
	}
	for _, object := range left {
		if object.DeletionTimestamp == nil && len(object.Finalizers) == 0 && !(r.Group == "" && r.Resource == "pods") {
			return left, fmt.Errorf("unexpected items still remain in namespace: %s for gvr: %v", namespace.Name, r.GroupVersionResource)
		}
	}
	return left, nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
