package storageversionmigrator

import (
	"context"

	migrationv1 "k8s.io/api/storagemigration/v1"
	migrationlisters "k8s.io/client-go/listers/storagemigration/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// name is the controller's, and the manager of the patches that it sends.
const name = "storage-version-migrator-controller"

// Controller migrates.
type Controller struct {
	env        control.Env
	migrations migrationlisters.StorageVersionMigrationLister
	loop       *control.Loop
}

// New answers the controller that migrates.
func New(env control.Env) *Controller {
	migrations := env.Informers.Storagemigration().V1().StorageVersionMigrations()
	c := &Controller{env: env, migrations: migrations.Lister()}
	c.loop = control.NewLoop(env, name, 1, c.reconcile)
	control.WatchChanges(c.loop, migrations.Informer(), func(_, new **migrationv1.StorageVersionMigration) []string {
		if new == nil || ended(*new) {
			return nil
		}
		return control.Self(*new)
	})
	return c
}

// Run migrates until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
