package storageversionmigrator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/discovered"
)

const (
	// page is how many objects are asked for at a time.
	page = 500
	// patience is how long a resource may be unknown: a definition may be newer than what the server tells of it.
	patience = time.Minute
)

// Reasons of the conditions are upstream's.
const (
	inProgress = "StorageVersionMigrationInProgress"
	succeeded  = "StorageVersionMigrationSucceeded"
	failed     = "StorageVersionMigrationFailed"
)

func ended(m *migrationv1.StorageVersionMigration) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationSucceeded)) ||
		meta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationFailed))
}

func (c *Controller) reconcile(ctx context.Context, key string) error {
	cached, err := c.migrations.Get(key)
	if err != nil || ended(cached) {
		return nil
	}
	m := cached.DeepCopy()
	resource, err := c.find(m)
	if err != nil {
		return err
	}
	if resource == nil {
		if rest := patience - c.env.Clock.Since(m.CreationTimestamp.Time); rest > 0 {
			return control.Again(min(rest, 5*time.Second))
		}
		return c.end(ctx, m, migrationv1.MigrationFailed, failed, "migration encountered unhandled error: unable to obtain GVR from discovery")
	}
	if m, err = c.begin(ctx, m); err != nil {
		return err
	}
	count, err := c.rewrite(ctx, *resource)
	switch {
	case err == nil:
		condition(m, migrationv1.MigrationRunning, metav1.ConditionTrue, inProgress, fmt.Sprintf("The migration is running, %d objects verified migrated", count))
		return c.end(ctx, m, migrationv1.MigrationSucceeded, succeeded, "Migration completed")
	case passing(err):
		return err
	}
	return c.end(ctx, m, migrationv1.MigrationFailed, failed, "migration encountered unhandled error: "+err.Error())
}

// find answers nil if the server does not have the resource.
func (c *Controller) find(m *migrationv1.StorageVersionMigration) (*discovered.Resource, error) {
	all, err := discovered.List(c.env.Discovery)
	if err != nil && len(all) == 0 {
		return nil, err
	}
	i := slices.IndexFunc(all, func(r discovered.Resource) bool {
		return r.GroupResource().Group == m.Spec.Resource.Group && r.GroupResource().Resource == m.Spec.Resource.Resource && r.Can("list", "patch")
	})
	if i < 0 {
		return nil, nil
	}
	return &all[i], nil
}

// begin says that the migration runs, and from which revision on objects are new enough.
func (c *Controller) begin(ctx context.Context, m *migrationv1.StorageVersionMigration) (*migrationv1.StorageVersionMigration, error) {
	if meta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationRunning)) && m.Status.ResourceVersion != "" {
		return m, nil
	}
	m.Status.ResourceVersion = m.ResourceVersion
	condition(m, migrationv1.MigrationRunning, metav1.ConditionTrue, inProgress, "The migration is running")
	return c.env.Client.StoragemigrationV1().StorageVersionMigrations().UpdateStatus(ctx, m, metav1.UpdateOptions{})
}

// rewrite has all objects of a resource written that are not stored in today's form, and counts them all.
func (c *Controller) rewrite(ctx context.Context, r discovered.Resource) (int, error) {
	count, objects := 0, c.env.Metadata.Resource(r.GroupVersionResource)
	options := metav1.ListOptions{Limit: page}
	for {
		list, err := objects.List(ctx, options)
		if err != nil {
			return count, err
		}
		for i := range list.Items {
			item := &list.Items[i]
			patch, err := json.Marshal(map[string]any{"apiVersion": r.GroupVersion().String(), "kind": r.Kind, "metadata": map[string]any{"resourceVersion": item.ResourceVersion}})
			if err != nil {
				return count, err
			}
			_, err = objects.Namespace(item.Namespace).Patch(ctx, item.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: name})
			// An object that somebody else has written, or removed, needs nothing any more.
			if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				return count, fmt.Errorf("%s: %w", control.Key(item.Namespace, item.Name), err)
			}
			count++
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return count, nil
		}
	}
}

// passing errors have the migration tried again.
func passing(err error) bool {
	return apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		apierrors.IsTimeout(err) || apierrors.IsResourceExpired(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown
}

func condition(m *migrationv1.StorageVersionMigration, kind migrationv1.MigrationConditionType, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{Type: string(kind), Status: status, Reason: reason, Message: message})
}

func (c *Controller) end(ctx context.Context, m *migrationv1.StorageVersionMigration, kind migrationv1.MigrationConditionType, reason, message string) error {
	condition(m, kind, metav1.ConditionTrue, reason, message)
	_, err := c.env.Client.StoragemigrationV1().StorageVersionMigrations().UpdateStatus(ctx, m, metav1.UpdateOptions{})
	return control.IgnoreNotFound(err)
}
