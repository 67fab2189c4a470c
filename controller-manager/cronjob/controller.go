package cronjob

import (
	"context"
	_ "time/tzdata" // time zones, wherever this runs

	batchv1 "k8s.io/api/batch/v1"
	batchlisters "k8s.io/client-go/listers/batch/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/skiff-project/skiff/controller-manager/control"
)

var (
	kind    = batchv1.SchemeGroupVersion.WithKind("CronJob")
	jobKind = batchv1.SchemeGroupVersion.WithKind("Job")
)

// Controller starts Jobs.
type Controller struct {
	env      control.Env
	events   record.EventRecorder
	crons    batchlisters.CronJobLister
	store    cache.Store // of cron jobs
	jobIndex cache.Indexer
	loop     *control.Loop
	writes   control.Writes
}

// New answers the controller of CronJobs.
func New(env control.Env) *Controller {
	batch := env.Informers.Batch().V1()
	control.IndexByController(batch.Jobs().Informer())
	c := &Controller{
		env: env, events: env.Events("cronjob-controller"), crons: batch.CronJobs().Lister(),
		store: batch.CronJobs().Informer().GetStore(), jobIndex: batch.Jobs().Informer().GetIndexer(),
	}
	c.loop = control.NewLoop(env, "cronjob-controller", 5, c.reconcile)
	control.Watch(c.loop, batch.CronJobs().Informer(), control.Self[*batchv1.CronJob])
	control.Watch(c.loop, batch.Jobs().Informer(), func(job *batchv1.Job) []string { return control.OwnerKey(job, kind) })
	return c
}

// Run starts Jobs until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
