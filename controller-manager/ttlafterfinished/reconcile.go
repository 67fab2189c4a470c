package ttlafterfinished

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	namespace, name := control.SplitKey(key)
	job, err := c.jobs.Jobs(namespace).Get(name)
	if err != nil || job.DeletionTimestamp != nil {
		return nil
	}
	due, ok := due(job)
	if !ok {
		return nil
	}
	if wait := due.Sub(c.env.Clock.Now()); wait > 0 {
		c.loop.AddAfter(key, wait)
		return nil
	}
	// The version makes sure that nobody has just given it more time.
	err = c.env.Client.BatchV1().Jobs(namespace).Delete(ctx, name, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(metav1.DeletePropagationForeground),
		Preconditions:     &metav1.Preconditions{UID: &job.UID, ResourceVersion: &job.ResourceVersion},
	})
	return control.IgnoreNotFound(err)
}

// due is when job is to be deleted; false if never, or not known yet.
func due(job *batchv1.Job) (time.Time, bool) {
	if job.Spec.TTLSecondsAfterFinished == nil {
		return time.Time{}, false
	}
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
		}
	}
	return time.Time{}, false
}
