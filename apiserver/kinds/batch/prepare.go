package batch

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// prepareJob gives a job the selector that no other has, unless it brings its own.
func prepareJob(_ *kinds.Request, j *batchv1.Job) {
	if m := j.Spec.ManualSelector; m == nil || !*m {
		selectOwnPods(j)
	}
	dropOff(&j.Spec, nil)
}

func prepareJobUpdate(_ *kinds.Request, j, old *batchv1.Job) { dropOff(&j.Spec, &old.Spec) }

// selectOwnPods adds what is missing. What is there and says otherwise stays, and validation refuses it.
func selectOwnPods(j *batchv1.Job) {
	t := &j.Spec.Template
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	for _, l := range []struct{ key, value string }{
		{shortNameLabel, j.Name}, {batchv1.JobNameLabel, j.Name}, {shortUIDLabel, string(j.UID)}, {batchv1.ControllerUidLabel, string(j.UID)},
	} {
		if _, ok := t.Labels[l.key]; !ok {
			t.Labels[l.key] = l.value
		}
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

// dropOff removes the fields of features that are off, unless the old spec has them.
func dropOff(spec, old *batchv1.JobSpec) {
	if old == nil {
		spec.Scheduling = nil
		podspec.DropTemplateOff(&spec.Template, nil)
		return
	}
	if old.Scheduling == nil {
		spec.Scheduling = nil
	}
	podspec.DropTemplateOff(&spec.Template, &old.Template)
}

func jobWarnings(_ *kinds.Request, j, old *batchv1.Job) []string {
	if old != nil && j.Generation == old.Generation {
		return nil
	}
	return append(nameWarnings(j.Name, old == nil), specWarnings(&j.Spec, specPath)...)
}

func cronJobWarnings(_ *kinds.Request, c, old *batchv1.CronJob) []string {
	out := nameWarnings(c.Name, old == nil)
	if old == nil || c.Generation != old.Generation {
		out = append(out, specWarnings(&c.Spec.JobTemplate.Spec, specPath.Child("jobTemplate", "spec"))...)
	}
	if old != nil && strings.Contains(c.Spec.Schedule, "TZ") {
		out = append(out, fmt.Sprintf("cannot use TZ or CRON_TZ in %s, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
			field.NewPath("spec", "spec", "schedule")))
	}
	return out
}

func nameWarnings(name string, isNew bool) []string {
	if m := validation.IsDNS1123Label(name); isNew && len(m) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", m)}
	}
	return nil
}

func specWarnings(spec *batchv1.JobSpec, at *field.Path) []string {
	var out []string
	if indexed(spec) && show.Replicas(spec.Completions) > manyCompletions && show.Replicas(spec.Parallelism) > mostParallelOfMany {
		out = append(out, fmt.Sprintf("%s: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail", at))
	}
	return append(out, podspec.Warnings(&spec.Template.ObjectMeta, &spec.Template.Spec, at.Child("template"))...)
}
