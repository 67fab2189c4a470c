package extensions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	definitions "github.com/skiff-project/skiff/apiserver/kinds/apiextensions"
)

// How the objects of a definition that is being deleted are waited for: whoever has finalizers on them may take a while.
const (
	cleanFirst   = 20 * time.Millisecond
	cleanLast    = 5 * time.Second
	cleanPatient = time.Minute
	cleanWorkers = 8
)

// clean starts to delete the objects of a definition that is being deleted, unless that is going on.
func (c *Controller) clean(ctx context.Context, d *definition, name string) {
	crd := c.newest(d)
	if crd == nil || crd.DeletionTimestamp == nil {
		return
	}
	if len(crd.Finalizers) > 0 && !apihelpers.CRDHasFinalizer(crd, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return // others have to finish
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.cleaning {
		return
	}
	d.cleaning = true
	r := d.row
	c.cleaning.Go(func() {
		for wait := cleanFirst; ; wait = min(2*wait, cleanLast) {
			err := c.cleanOnce(ctx, d, r, name)
			if err == nil || ctx.Err() != nil {
				break
			}
			c.Log.Warn("the objects of a definition could not be deleted; it is tried again", "name", name, "err", err)
			pause(ctx, wait)
		}
		c.mu.Lock()
		d.cleaning = false
		c.mu.Unlock()
		if ctx.Err() == nil {
			c.queue.Add(name)
		}
	})
}

func pause(ctx context.Context, wait time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// terminating is the condition about what becomes of a definition's objects.
func terminating(status apiextensionsv1.ConditionStatus, reason, message string) apiextensionsv1.CustomResourceDefinitionCondition {
	return apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Terminating, Status: status, Reason: reason, Message: message}
}

// cleanOnce deletes the objects, and then the definition. It does nothing to a definition that is not marked.
func (c *Controller) cleanOnce(ctx context.Context, d *definition, r *row, name string) error {
	crd := c.newest(d)
	if crd == nil || crd.DeletionTimestamp == nil {
		return nil
	}
	if apihelpers.CRDHasFinalizer(crd, apiextensionsv1.CustomResourceCleanupFinalizer) {
		outcome := terminating(apiextensionsv1.ConditionFalse, "NeverEstablished", "resource was never established")
		if apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.Established) && r != nil {
			if err := c.setCondition(ctx, d, crd, terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress")); err != nil {
				return err
			}
			var err error
			if outcome, err = c.deleteObjects(ctx, r); err != nil {
				return errors.Join(err, c.setCondition(ctx, d, crd, outcome))
			}
		}
		// With the last finalizer the definition goes, too.
		err := c.update(ctx, d, name, func(crd *apiextensionsv1.CustomResourceDefinition) {
			if crd.DeletionTimestamp != nil {
				definitions.SetCondition(crd, c.Now(), outcome)
				apihelpers.CRDRemoveFinalizer(crd, apiextensionsv1.CustomResourceCleanupFinalizer)
			}
		})
		if err != nil {
			return err
		}
	}
	return c.remove(ctx, d, name)
}

// remove deletes a marked definition that has lost all finalizers in another way.
func (c *Controller) remove(ctx context.Context, d *definition, name string) error {
	crd := c.newest(d)
	if crd == nil || len(crd.Finalizers) > 0 {
		return nil
	}
	uid := crd.UID
	_, err := c.Registry.Hooks().Delete(ctx, c.Definition, "", name, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (c *Controller) setCondition(ctx context.Context, d *definition, of *apiextensionsv1.CustomResourceDefinition, condition apiextensionsv1.CustomResourceDefinitionCondition) error {
	return c.update(ctx, d, of.Name, func(crd *apiextensionsv1.CustomResourceDefinition) {
		if crd.UID == of.UID {
			definitions.SetCondition(crd, c.Now(), condition)
		}
	})
}

// deleteObjects returns when there are none left. The condition says how it went.
func (c *Controller) deleteObjects(ctx context.Context, r *row) (apiextensionsv1.CustomResourceDefinitionCondition, error) {
	store := c.Registry.Hooks()
	patient, cancel := context.WithTimeout(ctx, cleanPatient)
	defer cancel()
	for wait := cleanFirst; ; wait = min(2*wait, cleanLast) {
		all, err := store.List(patient, r.kind, "")
		if err != nil && patient.Err() == nil {
			return terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionFailed", fmt.Sprintf("could not list instances: %v", err)), err
		}
		if err == nil && len(all) == 0 {
			return terminating(apiextensionsv1.ConditionFalse, "InstanceDeletionCompleted", "removed all instances"), nil
		}
		if patient.Err() == nil {
			if err := c.deleteAll(patient, r, all); err != nil && patient.Err() == nil {
				return terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionFailed", fmt.Sprintf("could not issue all deletes: %v", err)), err
			}
			pause(patient, wait)
			continue
		}
		err = patient.Err()
		return terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionCheck", fmt.Sprintf("could not confirm zero CustomResources remaining: %v", err)), err
	}
}

// deleteAll marks or removes objects, several at once.
func (c *Controller) deleteAll(ctx context.Context, r *row, all []runtime.Object) error {
	store := c.Registry.Hooks()
	todo := make(chan metav1.Object)
	var workers sync.WaitGroup
	errs := make([]error, cleanWorkers)
	for i := range cleanWorkers {
		workers.Go(func() {
			for m := range todo {
				uid := types.UID(m.GetUID())
				_, err := store.Delete(ctx, r.kind, m.GetNamespace(), m.GetName(), &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
				if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
					errs[i] = err
				}
			}
		})
	}
	for _, obj := range all {
		if m, err := meta.Accessor(obj); err == nil && m.GetDeletionTimestamp() == nil {
			todo <- m
		}
	}
	close(todo)
	workers.Wait()
	return errors.Join(errs...)
}
