package batch

import (
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// Job runs pods until enough of them have succeeded.
var Job = kinds.Define(kinds.Row[*batchv1.Job]{
	Resource: "jobs", UnknownField: "field label %q not supported for Job", DefaultOrphan: true, WarnDelete: warnOrphans, Categories: []string{"all"}, Scope: kinds.Namespaced,
	Fields: func(j *batchv1.Job) fields.Set {
		return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
	},
	Default: defaultJob, PrepareCreate: prepareJob, PrepareUpdate: prepareJobUpdate, Warnings: jobWarnings,
	Validate: validateNewJob, ValidateUpdate: validateJobUpdate, ValidateStatus: validateJobStatus,
	Columns: jobColumns(),
})

// warnOrphans tells users of what they may not expect: Jobs are the one kind whose dependents outlive it by default.
func warnOrphans(opts *metav1.DeleteOptions) []string {
	if opts.PropagationPolicy != nil || opts.OrphanDependents != nil {
		return nil
	}
	return []string{"child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"}
}

func jobColumns() []kinds.Column[*batchv1.Job] {
	return append([]kinds.Column[*batchv1.Job]{
		kinds.NameColumn[*batchv1.Job](),
		{Name: "Status", Description: "Status of the job.", Cell: func(j *batchv1.Job) any { return jobStatusText(j) }},
		{Name: "Completions", Description: kinds.Doc(batchv1.JobStatus{}, "succeeded"), Cell: func(j *batchv1.Job) any { return completionsText(j) }},
		{Name: "Duration", Description: "Time required to complete the job.", Cell: func(j *batchv1.Job) any { return durationText(j) }},
		kinds.AgeColumn[*batchv1.Job](),
	}, append(show.Template(func(j *batchv1.Job) *corev1.PodTemplateSpec { return &j.Spec.Template }),
		kinds.Column[*batchv1.Job]{Name: "Selector", Priority: 1, Description: kinds.Doc(batchv1.JobSpec{}, "selector"),
			Cell: func(j *batchv1.Job) any { return show.Selector(j.Spec.Selector) }})...)
}

// jobStatusText names the condition that says most about where the job stands.
func jobStatusText(j *batchv1.Job) string {
	holds := func(t batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == t {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
	switch {
	case holds(batchv1.JobComplete):
		return "Complete"
	case holds(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case holds(batchv1.JobSuspended):
		return "Suspended"
	case holds(batchv1.JobFailureTarget):
		return "FailureTarget"
	case holds(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func completionsText(j *batchv1.Job) string {
	if j.Spec.Completions != nil {
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	}
	if parallel := show.Replicas(j.Spec.Parallelism); parallel > 1 {
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallel)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func durationText(j *batchv1.Job) string {
	switch {
	case j.Status.StartTime == nil:
		return ""
	case j.Status.CompletionTime == nil:
		return duration.HumanDuration(time.Since(j.Status.StartTime.Time))
	}
	return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
}
