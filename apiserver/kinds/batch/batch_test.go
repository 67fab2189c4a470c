package batch

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// job is one that has passed create, with edits made before it.
func job(edit func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "n", UID: "u", ResourceVersion: "1"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i", TerminationMessagePolicy: "File", ImagePullPolicy: "Always"}},
		}}},
	}
	if edit != nil {
		edit(j)
	}
	Job.Default(j)
	Job.PrepareCreate(nil, j)
	return j
}

func expect(t *testing.T, errs field.ErrorList, want string) {
	t.Helper()
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	have := strings.Join(out, "; ")
	if want == "" && have != "" || !strings.Contains(have, want) {
		t.Errorf("have %s\nwant %s", have, want)
	}
}

func indexedJob(n int32) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Spec.CompletionMode, j.Spec.Completions, j.Spec.Parallelism = ptr.To(batchv1.IndexedCompletion), &n, &n
	}
}

func TestNewJobs(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*batchv1.Job)
		want string
	}{
		{name: "a job gets a selector of its own"},
		{name: "a template that claims another job's pods is refused",
			edit: func(j *batchv1.Job) {
				j.Spec.Template.Labels = map[string]string{batchv1.JobNameLabel: "other"}
			},
			want: `spec.template.metadata.labels[batch.kubernetes.io/job-name]: Invalid value`},
		{name: "pods of a job do not restart for ever",
			edit: func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways },
			want: `spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`},
		{name: "an indexed job says how many indexes",
			edit: func(j *batchv1.Job) {
				j.Spec.CompletionMode, j.Spec.Parallelism = ptr.To(batchv1.IndexedCompletion), ptr.To[int32](2)
			},
			want: "spec.completions: Required value: when completion mode is Indexed"},
		{name: "exit codes are ordered",
			edit: func(j *batchv1.Job) {
				j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{Action: batchv1.PodFailurePolicyActionFailJob,
					OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: "In", Values: []int32{2, 1}}}}}
			},
			want: "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered"},
		{name: "success is a matter of indexes",
			edit: func(j *batchv1.Job) {
				j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededCount: ptr.To[int32](1)}}}
			},
			want: "requires indexed completion mode"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, Job.Validate(nil, job(c.edit)), c.want) })
	}
}

func TestUpdatesOfJobs(t *testing.T) {
	suspend := func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }
	for _, c := range []struct {
		name     string
		old, new func(*batchv1.Job)
		want     string
	}{
		{name: "the template of a running job is fixed",
			new:  func(j *batchv1.Job) { j.Spec.Template.Spec.NodeSelector = map[string]string{"a": "b"} },
			want: "spec.template: Invalid value"},
		{name: "pods of a suspended job may be directed", old: suspend,
			new: func(j *batchv1.Job) { j.Spec.Template.Spec.NodeSelector = map[string]string{"a": "b"} }},
		{name: "the image of a suspended job is fixed", old: suspend,
			new:  func(j *batchv1.Job) { j.Spec.Template.Spec.Containers[0].Image = "other" },
			want: "spec.template.spec: Invalid value"},
		{name: "an indexed job grows with its parallelism", old: indexedJob(2), new: indexedJob(3)},
		{name: "and not without", old: indexedJob(2),
			new: func(j *batchv1.Job) { j.Spec.Completions = ptr.To[int32](3) }, want: "can only be modified in tandem with spec.parallelism"},
		{name: "another job's completions are fixed",
			new: func(j *batchv1.Job) { j.Spec.Completions = ptr.To[int32](3) }, want: "spec.completions: Invalid value: 3: field is immutable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := job(c.old)
			now := old.DeepCopy()
			c.new(now)
			expect(t, Job.ValidateUpdate(nil, now, old), c.want)
		})
	}
}

func TestStatusOfJobs(t *testing.T) {
	set := func(types ...batchv1.JobConditionType) []batchv1.JobCondition {
		var out []batchv1.JobCondition
		for _, c := range types {
			out = append(out, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
		}
		return out
	}
	now, later := metav1.NewTime(time.Unix(100, 0)), metav1.NewTime(time.Unix(200, 0))
	complete := batchv1.JobStatus{StartTime: &now, CompletionTime: &later, Succeeded: 1,
		Conditions: set(batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)}
	for _, c := range []struct {
		name     string
		spec     func(*batchv1.Job)
		old, new batchv1.JobStatus
		want     string
	}{
		{name: "a job completes", old: batchv1.JobStatus{StartTime: &now, Active: 1}, new: complete},
		{name: "not without a time", new: batchv1.JobStatus{StartTime: &now, Conditions: complete.Conditions}, want: "status.completionTime: Required value"},
		{name: "not without having met its criteria",
			new:  batchv1.JobStatus{StartTime: &now, CompletionTime: &later, Conditions: set(batchv1.JobComplete)},
			want: "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		{name: "what is complete stays so", old: complete, new: batchv1.JobStatus{StartTime: &now, Succeeded: 1}, want: "cannot disable the terminal Complete=True condition"},
		{name: "an old mistake blocks no write about something else",
			old: batchv1.JobStatus{StartTime: &now, Active: 1, Ready: ptr.To[int32](2)}, new: batchv1.JobStatus{StartTime: &now, Active: 1, Ready: ptr.To[int32](2), Failed: 1}},
		{name: "an index has completed or failed", spec: func(j *batchv1.Job) { indexedJob(9)(j); j.Spec.BackoffLimitPerIndex = ptr.To[int32](1) },
			new: batchv1.JobStatus{CompletedIndexes: "0-2,5", FailedIndexes: ptr.To("3,4-6")}, want: "failedIndexes and completedIndexes overlap at index: 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := job(c.spec)
			old.Status = c.old
			j := old.DeepCopy()
			j.Status = c.new
			expect(t, Job.Subresources["status"].Update.Validate(nil, j, old), c.want)
		})
	}
}

func TestSchedulesOfCronJobs(t *testing.T) {
	cron := func(schedule string, zone *string) *batchv1.CronJob {
		c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", ResourceVersion: "1"}, Spec: batchv1.CronJobSpec{
			Schedule: schedule, TimeZone: zone, JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: job(nil).Spec.Template}}}}
		CronJob.Default(c)
		return c
	}
	for _, c := range []struct {
		name, schedule, zone, want string
	}{
		{name: "five fields", schedule: "*/5 * * * *"},
		{name: "a word", schedule: "@hourly"},
		{name: "a zone", schedule: "0 0 * * *", zone: "Europe/Vienna"},
		{name: "a zone in the text is the old way", schedule: "TZ=UTC 0 0 * * *", want: "cannot use TZ or CRON_TZ in schedule"},
		{name: "a zone alone makes the library panic", schedule: "TZ=0", want: "invalid schedule format"},
		{name: "no path in the file system is a zone", schedule: "0 0 * * *", zone: "../etc/passwd", want: "unknown time zone ../etc/passwd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var zone *string
			if c.zone != "" {
				zone = &c.zone
			}
			expect(t, CronJob.Validate(nil, cron(c.schedule, zone)), c.want)
		})
	}
	t.Run("an old object keeps its zone in the text", func(t *testing.T) {
		expect(t, CronJob.ValidateUpdate(nil, cron("TZ=UTC 1 0 * * *", nil), cron("TZ=UTC 0 0 * * *", nil)), "")
	})
}
