package ttlafterfinished

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	batchlisters "k8s.io/client-go/listers/batch/v1"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// Controller deletes Jobs.
type Controller struct {
	env  control.Env
	jobs batchlisters.JobLister
	loop *control.Loop
}

// New answers the controller that deletes Jobs.
func New(env control.Env) *Controller {
	jobs := env.Informers.Batch().V1().Jobs()
	c := &Controller{env: env, jobs: jobs.Lister()}
	c.loop = control.NewLoop(env, "ttl-after-finished-controller", 4, c.reconcile)
	control.Watch(c.loop, jobs.Informer(), func(job *batchv1.Job) []string {
		if job.Spec.TTLSecondsAfterFinished == nil {
			return nil
		}
		return control.Self(job)
	})
	return c
}

// Run deletes Jobs until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }
