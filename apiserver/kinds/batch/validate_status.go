package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// statusCheck compares two states of a job. Others than our controller may manage jobs, so a status must make sense: a
// job that has ended stays so. Most rules apply when what they are about changes, lest an old mistake block every write.
type statusCheck struct {
	check.List
	job, old *batchv1.Job
}

var conditionsPath = statusPath.Child("conditions")

func validateJobStatus(_ *kinds.Request, j, old *batchv1.Job) field.ErrorList {
	c := &statusCheck{job: j, old: old}
	c.counts()
	c.uncounted()
	c.conditions()
	c.times()
	c.finished()
	c.indexes()
	c.backwards()
	return c.ErrorList
}

func (c *statusCheck) has(j *batchv1.Job, t batchv1.JobConditionType) bool {
	return hasCondition(j, t, corev1.ConditionTrue)
}

func (c *statusCheck) is(t batchv1.JobConditionType) bool  { return c.has(c.job, t) }
func (c *statusCheck) was(t batchv1.JobConditionType) bool { return c.has(c.old, t) }

func (c *statusCheck) turned(t batchv1.JobConditionType) bool { return c.is(t) != c.was(t) }

func (c *statusCheck) ended(j *batchv1.Job) bool {
	return c.has(j, batchv1.JobComplete) || c.has(j, batchv1.JobFailed)
}

// condition complains about the conditions as a whole.
func (c *statusCheck) condition(wrong bool, text string) {
	if wrong {
		c.Add(field.Invalid(conditionsPath, field.OmitValueType{}, text))
	}
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

func sameTime(a, b *metav1.Time) bool { return same(a, b) || a != nil && b != nil && a.Equal(b) }

func (c *statusCheck) counts() {
	s := &c.job.Status
	c.NotNegative(statusPath.Child("active"), int64(s.Active))
	c.NotNegative(statusPath.Child("succeeded"), int64(s.Succeeded))
	c.NotNegative(statusPath.Child("failed"), int64(s.Failed))
	if s.Ready != nil {
		c.NotNegative(statusPath.Child("ready"), int64(*s.Ready))
		if (!same(s.Ready, c.old.Status.Ready) || s.Active != c.old.Status.Active) && *s.Ready > s.Active {
			c.Add(field.Invalid(statusPath.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
		}
	}
	if s.Terminating != nil {
		c.NotNegative(statusPath.Child("terminating"), int64(*s.Terminating))
	}
}

// uncounted pods are named once, since each is counted once.
func (c *statusCheck) uncounted() {
	pods := c.job.Status.UncountedTerminatedPods
	if pods == nil {
		return
	}
	seen := map[types.UID]bool{}
	look := func(name string, list []types.UID) {
		for i, uid := range list {
			at := statusPath.Child("uncountedTerminatedPods", name).Index(i)
			if uid == "" {
				c.Add(field.Invalid(at, uid, "must not be empty"))
			} else if seen[uid] {
				c.Add(field.Duplicate(at, uid))
			}
			seen[uid] = true
		}
	}
	look("succeeded", pods.Succeeded)
	look("failed", pods.Failed)
}

func (c *statusCheck) conditions() {
	complete, failed := c.is(batchv1.JobComplete), c.is(batchv1.JobFailed)
	target, met := c.is(batchv1.JobFailureTarget), c.is(batchv1.JobSuccessCriteriaMet)
	completeTurned, failedTurned := c.turned(batchv1.JobComplete), c.turned(batchv1.JobFailed)

	c.condition((completeTurned || failedTurned) && complete && failed, "cannot set Complete=True and Failed=true conditions")
	c.condition((completeTurned || c.turned(batchv1.JobFailureTarget)) && complete && target, "cannot set Complete=True and FailureTarget=true conditions")
	c.condition((failedTurned || c.failedIndexesChanged()) && failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition")
	c.condition((completeTurned || c.turned(batchv1.JobSuccessCriteriaMet)) && complete && !met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	c.condition(met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	c.condition(met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	c.condition(c.job.Spec.SuccessPolicy != nil && !met && complete, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")

	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		c.condition(c.was(t) && !c.is(t), fmt.Sprintf("cannot disable the terminal %s=True condition", t))
	}
	c.condition(c.was(batchv1.JobSuccessCriteriaMet) && !met, "cannot disable the SuccessCriteriaMet=True condition")
	c.condition(c.was(batchv1.JobComplete) && !c.was(batchv1.JobSuccessCriteriaMet) && met,
		"cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
}

func (c *statusCheck) times() {
	now, before := &c.job.Status, &c.old.Status
	at := statusPath.Child("completionTime")
	startChanged, doneChanged := !sameTime(now.StartTime, before.StartTime), !sameTime(now.CompletionTime, before.CompletionTime)
	complete := c.is(batchv1.JobComplete)
	if doneChanged || c.turned(batchv1.JobComplete) {
		if now.CompletionTime != nil && !complete {
			c.Add(field.Invalid(at, now.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
		}
		if now.CompletionTime == nil && complete {
			c.Add(field.Required(at, "completionTime is required for Complete jobs"))
		}
	}
	if (startChanged || doneChanged) && now.StartTime != nil && now.CompletionTime != nil && now.CompletionTime.Before(now.StartTime) {
		c.Add(field.Invalid(at, now.CompletionTime, "must be equal to or after `startTime`"))
	}
	if doneChanged && now.CompletionTime != nil && before.CompletionTime != nil {
		c.Add(field.Invalid(at, now.CompletionTime, "field is immutable"))
	}
	// A job that resumes starts anew, whichever of its fields is written first.
	suspended := c.job.Spec.Suspend != nil && *c.job.Spec.Suspend
	resuming := c.was(batchv1.JobSuspended) && hasCondition(c.job, batchv1.JobSuspended, corev1.ConditionFalse)
	if startChanged && before.StartTime != nil && !suspended && !resuming {
		c.Add(field.Invalid(statusPath.Child("startTime"), now.StartTime, "field is immutable for unsuspended job once set"))
	}
}

// finished: a job that has ended has nothing left to run, to stop or to count.
func (c *statusCheck) finished() {
	if !c.ended(c.job) {
		return
	}
	now, before, spec := &c.job.Status, &c.old.Status, &c.job.Spec
	turned := !c.ended(c.old)
	if (turned || now.Active != before.Active) && now.Active > 0 {
		c.Add(field.Invalid(statusPath.Child("active"), now.Active, "active>0 is invalid for finished job"))
	}
	neverRun := spec.Suspend != nil && *spec.Suspend && spec.Completions != nil && *spec.Completions == 0
	if (turned || !sameTime(now.StartTime, before.StartTime)) && !neverRun && now.StartTime == nil {
		c.Add(field.Required(statusPath.Child("startTime"), "startTime is required for finished job"))
	}
	pods := now.UncountedTerminatedPods
	if (turned || !apiequality.Semantic.DeepEqual(pods, before.UncountedTerminatedPods)) && pods != nil && len(pods.Failed)+len(pods.Succeeded) > 0 {
		c.Add(field.Invalid(statusPath.Child("uncountedTerminatedPods"), pods, "must be empty for finished job"))
	}
	if (turned || !same(now.Terminating, before.Terminating)) && now.Terminating != nil && *now.Terminating > 0 {
		c.Add(field.Invalid(statusPath.Child("terminating"), *now.Terminating, "terminating>0 is invalid for finished job"))
	}
}

func (c *statusCheck) failedIndexesChanged() bool {
	return !same(c.job.Status.FailedIndexes, c.old.Status.FailedIndexes)
}

func (c *statusCheck) indexes() {
	now, spec := &c.job.Status, &c.job.Spec
	completedAt, failedAt := statusPath.Child("completedIndexes"), statusPath.Child("failedIndexes")
	completedChanged, failedChanged := now.CompletedIndexes != c.old.Status.CompletedIndexes, c.failedIndexesChanged()
	if completedChanged {
		if spec.Completions != nil {
			if _, err := parseIndexes(now.CompletedIndexes, *spec.Completions); err != nil {
				c.Add(field.Invalid(completedAt, now.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err)))
			}
		}
		if now.CompletedIndexes != "" && !indexed(spec) {
			c.Add(field.Invalid(completedAt, now.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
		}
	}
	if now.FailedIndexes == nil {
		return
	}
	failed := *now.FailedIndexes
	if failedChanged {
		if spec.Completions != nil && spec.BackoffLimitPerIndex != nil {
			if _, err := parseIndexes(failed, *spec.Completions); err != nil {
				c.Add(field.Invalid(failedAt, failed, fmt.Sprintf("error parsing failedIndexes: %s", err)))
			}
		}
		if spec.BackoffLimitPerIndex == nil {
			c.Add(field.Invalid(failedAt, failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
		}
	}
	if (failedChanged || completedChanged) && spec.Completions != nil {
		if i, both := parsable(now.CompletedIndexes, *spec.Completions).overlap(parsable(failed, *spec.Completions)); both {
			c.Add(field.Invalid(failedAt, failed, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", i)))
		}
	}
}

// backwards: counters only grow, but for an Indexed job that is scaled down.
func (c *statusCheck) backwards() {
	now, before, spec := &c.job.Status, &c.old.Status, &c.job.Spec
	if now.Failed < before.Failed {
		c.Add(field.Invalid(statusPath.Child("failed"), now.Failed, "cannot decrease the failed counter"))
	}
	elastic := indexed(spec) && same(spec.Completions, spec.Parallelism)
	if !elastic && now.Succeeded < before.Succeeded {
		c.Add(field.Invalid(statusPath.Child("succeeded"), now.Succeeded, "cannot decrease the succeeded counter"))
	}
}
