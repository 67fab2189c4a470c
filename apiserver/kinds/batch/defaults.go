package batch

import (
	"math"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

func defaultJob(j *batchv1.Job) {
	spec := &j.Spec
	// One pod that succeeds once, unless something is said about either.
	if spec.Completions == nil && spec.Parallelism == nil {
		fill.Nil(&spec.Completions, 1)
	}
	fill.Nil(&spec.Parallelism, 1)
	if spec.BackoffLimitPerIndex != nil {
		fill.Nil(&spec.BackoffLimit, math.MaxInt32)
	}
	fill.Nil(&spec.BackoffLimit, 6)
	if len(j.Labels) == 0 {
		j.Labels = spec.Template.Labels
	}
	fill.Nil(&spec.CompletionMode, batchv1.NonIndexedCompletion)
	fill.Nil(&spec.Suspend, false)
	if spec.PodFailurePolicy != nil {
		fill.Nil(&spec.PodReplacementPolicy, batchv1.Failed)
	}
	fill.Nil(&spec.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	fill.Nil(&spec.ManualSelector, false)
	defaultJobSpec(spec)
}

// defaultJobSpec fills in what also a CronJob's template gets.
func defaultJobSpec(spec *batchv1.JobSpec) {
	if p := spec.PodFailurePolicy; p != nil {
		for i := range p.Rules {
			for k := range p.Rules[i].OnPodConditions {
				fill.Empty(&p.Rules[i].OnPodConditions[k].Status, corev1.ConditionTrue)
			}
		}
	}
	podspec.Default(&spec.Template.Spec)
}

func defaultCronJob(c *batchv1.CronJob) {
	fill.Empty(&c.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
	fill.Nil(&c.Spec.Suspend, false)
	fill.Nil(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	fill.Nil(&c.Spec.FailedJobsHistoryLimit, 1)
	defaultJobSpec(&c.Spec.JobTemplate.Spec)
}
