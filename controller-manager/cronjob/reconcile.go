package cronjob

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	if err := c.writes.Behind(key); err != nil {
		return err
	}
	namespace, name := control.SplitKey(key)
	cached, err := c.crons.CronJobs(namespace).Get(name)
	if err != nil {
		c.writes.Forget(key)
		return nil
	}
	cron := cached.DeepCopy()
	jobs := control.OwnedBy[*batchv1.Job](c.jobIndex, cron.UID)
	if err := c.takeStock(ctx, cron, jobs); err != nil {
		return err
	}
	var startErr error
	if cron.DeletionTimestamp == nil {
		startErr = c.start(ctx, key, cron)
		c.prune(ctx, cron, jobs)
	}
	if !equality.Semantic.DeepEqual(cached.Status, cron.Status) {
		written, err := c.env.Client.BatchV1().CronJobs(namespace).UpdateStatus(ctx, cron, metav1.UpdateOptions{})
		if err != nil {
			return control.IgnoreNotFound(err)
		}
		c.writes.Wrote(key, c.store, written)
	}
	return startErr
}

// takeStock brings the list of active jobs up to date.
func (c *Controller) takeStock(ctx context.Context, cron *batchv1.CronJob, jobs []*batchv1.Job) error {
	there := map[string]bool{}
	for _, job := range jobs {
		there[string(job.UID)] = true
		end, finished := finishedAs(job)
		active := isActive(cron, job)
		switch {
		case !finished && !active:
			c.events.Eventf(cron, corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", job.Name)
		case finished && active:
			drop(cron, string(job.UID))
			c.events.Eventf(cron, corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", job.Name, end)
		}
		if finished && end == batchv1.JobComplete && job.Status.CompletionTime != nil {
			if last := cron.Status.LastSuccessfulTime; last == nil || job.Status.CompletionTime.After(last.Time) {
				cron.Status.LastSuccessfulTime = job.Status.CompletionTime
			}
		}
	}
	for _, ref := range slices.Clone(cron.Status.Active) {
		if there[string(ref.UID)] {
			continue
		}
		// The cache may not show it yet.
		switch _, err := c.env.Client.BatchV1().Jobs(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{}); {
		case apierrors.IsNotFound(err):
			c.events.Eventf(cron, corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
			drop(cron, string(ref.UID))
		case err != nil:
			return err
		}
	}
	return nil
}

// start starts the Job that is due, if any, and sets the alarm for the next.
func (c *Controller) start(ctx context.Context, key string, cron *batchv1.CronJob) error {
	if strings.Contains(cron.Spec.Schedule, "TZ") {
		c.events.Eventf(cron, corev1.EventTypeWarning, "UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", cron.Spec.Schedule)
	}
	zone, err := location(cron)
	if err != nil {
		c.events.Eventf(cron, corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", ptr.Deref(cron.Spec.TimeZone, ""), err)
		return nil
	}
	if ptr.Deref(cron.Spec.Suspend, false) {
		return nil
	}
	schedule, err := parse(cron)
	if err != nil {
		c.events.Eventf(cron, corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", cron.Spec.Schedule, err)
		return nil
	}
	now := c.env.Clock.Now()
	scheduled, missed, err := due(cron, schedule, now)
	if err != nil {
		c.events.Eventf(cron, corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : %s", cron.Spec.Schedule, err)
		return nil
	}
	if wait := next(schedule, now); wait > 0 {
		c.loop.AddAfter(key, wait)
	}
	name := jobName(cron, scheduled)
	switch {
	case scheduled.IsZero():
		return nil
	case late(cron, scheduled, now):
		c.events.Eventf(cron, corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", scheduled.UTC().Format(time.RFC1123Z))
		return nil
	case slices.ContainsFunc(cron.Status.Active, func(ref corev1.ObjectReference) bool { return ref.Name == name }):
		return nil
	case cron.Status.LastScheduleTime != nil && cron.Status.LastScheduleTime.Time.Equal(scheduled):
		return nil
	}
	if missed {
		c.events.Event(cron, corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	switch {
	case cron.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(cron.Status.Active) > 0:
		c.events.Event(cron, corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return nil
	case cron.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent:
		for _, ref := range slices.Clone(cron.Status.Active) {
			if err := c.deleteJob(ctx, cron, ref.Namespace, ref.Name, string(ref.UID)); err != nil {
				return err
			}
		}
	}
	return c.create(ctx, cron, name, scheduled, zone)
}

func (c *Controller) create(ctx context.Context, cron *batchv1.CronJob, name string, scheduled time.Time, zone *time.Location) error {
	job := newJob(cron, name, scheduled, zone)
	api := c.env.Client.BatchV1().Jobs(cron.Namespace)
	created, err := api.Create(ctx, job, metav1.CreateOptions{})
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		// Made before, by us: then only the status is missing.
		if created, err = api.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !metav1.IsControlledBy(created, cron) {
			return nil
		}
		if _, finished := finishedAs(created); finished {
			cron.Status.LastScheduleTime = &metav1.Time{Time: scheduled}
			return nil
		}
	case err != nil:
		c.events.Eventf(cron, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		return err
	default:
		c.events.Eventf(cron, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", created.Name)
	}
	if !isActive(cron, created) {
		cron.Status.Active = append(cron.Status.Active, corev1.ObjectReference{
			Kind: jobKind.Kind, APIVersion: jobKind.GroupVersion().String(), Namespace: created.Namespace, Name: created.Name,
			UID: created.UID, ResourceVersion: created.ResourceVersion,
		})
	}
	cron.Status.LastScheduleTime = &metav1.Time{Time: scheduled}
	return nil
}

// jobName is unique for each minute.
func jobName(cron *batchv1.CronJob, scheduled time.Time) string {
	return fmt.Sprintf("%s-%d", cron.Name, scheduled.Unix()/60)
}

func newJob(cron *batchv1.CronJob, name string, scheduled time.Time, zone *time.Location) *batchv1.Job {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: cron.Namespace, Labels: maps.Clone(cron.Spec.JobTemplate.Labels),
		Annotations: maps.Clone(cron.Spec.JobTemplate.Annotations), CreationTimestamp: metav1.NewTime(scheduled),
		OwnerReferences: []metav1.OwnerReference{control.Reference(cron, kind)},
	}}
	if job.Annotations == nil {
		job.Annotations = map[string]string{}
	}
	job.Annotations[batchv1.CronJobScheduledTimestampAnnotation] = scheduled.In(zone).Format(time.RFC3339)
	cron.Spec.JobTemplate.Spec.DeepCopyInto(&job.Spec)
	return job
}

// prune deletes the oldest finished jobs beyond the history limits.
func (c *Controller) prune(ctx context.Context, cron *batchv1.CronJob, jobs []*batchv1.Job) {
	ended := map[batchv1.JobConditionType][]*batchv1.Job{}
	for _, job := range jobs {
		if end, finished := finishedAs(job); finished && job.DeletionTimestamp == nil {
			ended[end] = append(ended[end], job)
		}
	}
	for end, limit := range map[batchv1.JobConditionType]*int32{batchv1.JobComplete: cron.Spec.SuccessfulJobsHistoryLimit, batchv1.JobFailed: cron.Spec.FailedJobsHistoryLimit} {
		if limit == nil {
			continue
		}
		list := ended[end]
		slices.SortFunc(list, func(a, b *batchv1.Job) int {
			return cmp.Or(startedAt(a).Compare(startedAt(b)), cmp.Compare(a.Name, b.Name))
		})
		for _, job := range list[:max(len(list)-int(*limit), 0)] {
			// An error has been told in an Event; the next Job that ends brings us back here.
			_ = c.deleteJob(ctx, cron, job.Namespace, job.Name, string(job.UID))
		}
	}
}

// startedAt puts jobs that never started last.
func startedAt(job *batchv1.Job) time.Time {
	if job.Status.StartTime == nil {
		return time.Unix(1<<60, 0)
	}
	return job.Status.StartTime.Time
}

func (c *Controller) deleteJob(ctx context.Context, cron *batchv1.CronJob, namespace, name, uid string) error {
	options := *metav1.NewPreconditionDeleteOptions(uid)
	options.PropagationPolicy = ptr.To(metav1.DeletePropagationBackground)
	err := c.env.Client.BatchV1().Jobs(namespace).Delete(ctx, name, options)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.events.Eventf(cron, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
		return err
	}
	drop(cron, uid)
	c.events.Eventf(cron, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", name)
	return nil
}

func isActive(cron *batchv1.CronJob, job *batchv1.Job) bool {
	return slices.ContainsFunc(cron.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == job.UID })
}

func drop(cron *batchv1.CronJob, uid string) {
	cron.Status.Active = slices.DeleteFunc(cron.Status.Active, func(ref corev1.ObjectReference) bool { return string(ref.UID) == uid })
}

func finishedAs(job *batchv1.Job) (batchv1.JobConditionType, bool) {
	for _, condition := range job.Status.Conditions {
		if (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) && condition.Status == corev1.ConditionTrue {
			return condition.Type, true
		}
	}
	return "", false
}
