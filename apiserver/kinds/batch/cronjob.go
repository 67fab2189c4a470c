package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// CronJob starts Jobs at times.
var CronJob = kinds.Define(kinds.Row[*batchv1.CronJob]{
	Resource: "cronjobs", ShortNames: []string{"cj"}, Categories: []string{"all"}, Scope: kinds.Namespaced,
	Default: defaultCronJob, Warnings: cronJobWarnings,
	PrepareCreate: func(_ *kinds.Request, c *batchv1.CronJob) { dropOff(&c.Spec.JobTemplate.Spec, nil) },
	PrepareUpdate: func(_ *kinds.Request, c, old *batchv1.CronJob) {
		dropOff(&c.Spec.JobTemplate.Spec, &old.Spec.JobTemplate.Spec)
	},
	Validate: validateNewCronJob, ValidateUpdate: validateCronJobUpdate,
	Columns: cronJobColumns(),
})

func cronJobColumns() []kinds.Column[*batchv1.CronJob] {
	spec, status := batchv1.CronJobSpec{}, batchv1.CronJobStatus{}
	return append([]kinds.Column[*batchv1.CronJob]{
		kinds.NameColumn[*batchv1.CronJob](),
		{Name: "Schedule", Description: kinds.Doc(spec, "schedule"), Cell: func(c *batchv1.CronJob) any { return c.Spec.Schedule }},
		{Name: "Timezone", Description: kinds.Doc(spec, "timeZone"), Cell: func(c *batchv1.CronJob) any { return show.Text(c.Spec.TimeZone, "<none>") }},
		{Name: "Suspend", Type: "boolean", Description: kinds.Doc(spec, "suspend"), Cell: func(c *batchv1.CronJob) any { return show.Truth(c.Spec.Suspend, "<unset>") }},
		{Name: "Active", Type: "integer", Description: kinds.Doc(status, "active"), Cell: func(c *batchv1.CronJob) any { return int64(len(c.Status.Active)) }},
		{Name: "Last Schedule", Description: kinds.Doc(status, "lastScheduleTime"), Cell: func(c *batchv1.CronJob) any {
			if c.Status.LastScheduleTime == nil {
				return "<none>"
			}
			return kinds.Age(*c.Status.LastScheduleTime)
		}},
		kinds.AgeColumn[*batchv1.CronJob](),
	}, append(show.Template(func(c *batchv1.CronJob) *corev1.PodTemplateSpec { return &c.Spec.JobTemplate.Spec.Template }),
		kinds.Column[*batchv1.CronJob]{Name: "Selector", Priority: 1, Description: kinds.Doc(batchv1.JobSpec{}, "selector"),
			Cell: func(c *batchv1.CronJob) any { return show.Selector(c.Spec.JobTemplate.Spec.Selector) }})...)
}
