package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

// The labels by which a job knows its pods; the short ones are of the time before labels had domains.
const (
	shortUIDLabel  = "controller-uid"
	shortNameLabel = "job-name"
)

// Bounds of Indexed jobs: they keep the lists of indexes in the status short.
const (
	mostIndexedParallel = 100_000
	mostFailedIndexes   = 100_000
	manyCompletions     = 100_000
	mostParallelOfMany  = 10_000
	mostFailedOfMany    = 10_000
	longestManager      = 63
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

func validateNewJob(_ *kinds.Request, j *batchv1.Job) field.ErrorList {
	var l check.List
	generatedSelector(&l, j)
	jobSpec(&l, &j.Spec, nil, specPath)
	jobSelector(&l, &j.Spec, metavalidation.LabelSelectorValidationOptions{})
	roomForIndex(&l, j)
	return l.ErrorList
}

func validateJobUpdate(_ *kinds.Request, j, old *batchv1.Job) field.ErrorList {
	var l check.List
	spec, was := &j.Spec, &old.Spec
	jobSpec(&l, spec, &was.Template, specPath)
	jobSelector(&l, spec, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: metavalidation.LabelSelectorHasInvalidLabelValue(was.Selector)})
	completionsUpdate(&l, spec, was)
	l.Immutable(specPath.Child("selector"), spec.Selector, was.Selector)
	templateUpdate(&l, j, old)
	l.Immutable(specPath.Child("completionMode"), spec.CompletionMode, was.CompletionMode)
	l.Immutable(specPath.Child("podFailurePolicy"), spec.PodFailurePolicy, was.PodFailurePolicy)
	l.Immutable(specPath.Child("backoffLimitPerIndex"), spec.BackoffLimitPerIndex, was.BackoffLimitPerIndex)
	l.Immutable(specPath.Child("managedBy"), spec.ManagedBy, was.ManagedBy)
	l.Immutable(specPath.Child("successPolicy"), spec.SuccessPolicy, was.SuccessPolicy)
	roomForIndex(&l, j)
	return l.ErrorList
}

// generatedSelector: the server chooses selector and labels of the pods unless it was asked not to. A client that set one
// of them otherwise is told, since two jobs would fight over pods.
func generatedSelector(l *check.List, j *batchv1.Job) {
	if m := j.Spec.ManualSelector; m != nil && *m || j.Spec.Selector == nil {
		return
	}
	if j.UID == "" {
		l.Add(field.Required(field.NewPath("metadata", "uid"), ""))
	}
	want := labels.Set{}
	for _, c := range []struct{ key, value string }{
		{shortUIDLabel, string(j.UID)}, {shortNameLabel, j.Name},
		{batchv1.ControllerUidLabel, string(j.UID)}, {batchv1.JobNameLabel, j.Name},
	} {
		want[c.key] = c.value
		at := specPath.Child("template", "metadata", "labels").Key(c.key)
		must := fmt.Sprintf("must be '%s'", c.value)
		if have, ok := j.Spec.Template.Labels[c.key]; !ok {
			l.Add(field.Required(at, must))
		} else if have != c.value {
			l.Add(field.Invalid(at, j.Spec.Template.Labels, must))
		}
	}
	if s, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !s.Matches(want) {
		l.Add(field.Invalid(specPath.Child("selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
}

func jobSelector(l *check.List, spec *batchv1.JobSpec, o metavalidation.LabelSelectorValidationOptions) {
	if spec.Selector == nil {
		l.Add(field.Required(specPath.Child("selector"), ""))
	} else {
		l.All(metavalidation.ValidateLabelSelector(spec.Selector, o, specPath.Child("selector")))
	}
	if s, err := metav1.LabelSelectorAsSelector(spec.Selector); err == nil && !s.Matches(labels.Set(spec.Template.Labels)) {
		l.Add(field.Invalid(specPath.Child("template", "metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`"))
	}
}

// roomForIndex: the pods of an Indexed job have their index at the end of their host name.
func roomForIndex(l *check.List, j *batchv1.Job) {
	if !indexed(&j.Spec) || j.Spec.Completions == nil || *j.Spec.Completions <= 0 {
		return
	}
	longest := fmt.Sprintf("%s-%d", j.Name, *j.Spec.Completions-1)
	if len(validation.IsDNS1123Label(longest)) > 0 {
		l.Add(field.Invalid(field.NewPath("metadata", "name"), j.Name, fmt.Sprintf("will not able to create pod with invalid DNS label: %s", longest)))
	}
}

func indexed(spec *batchv1.JobSpec) bool {
	return spec.CompletionMode != nil && *spec.CompletionMode == batchv1.IndexedCompletion
}

// jobSpec checks what holds for jobs and for the templates of cron jobs. old is the template that is replaced.
func jobSpec(l *check.List, spec *batchv1.JobSpec, old *corev1.PodTemplateSpec, at *field.Path) {
	for _, n := range []struct {
		name  string
		value *int32
	}{
		{"parallelism", spec.Parallelism}, {"completions", spec.Completions}, {"backoffLimit", spec.BackoffLimit},
		{"ttlSecondsAfterFinished", spec.TTLSecondsAfterFinished}, {"backoffLimitPerIndex", spec.BackoffLimitPerIndex},
		{"maxFailedIndexes", spec.MaxFailedIndexes},
	} {
		if n.value != nil {
			l.NotNegative(at.Child(n.name), int64(*n.value))
		}
	}
	if n := spec.ActiveDeadlineSeconds; n != nil {
		l.NotNegative(at.Child("activeDeadlineSeconds"), *n)
	}
	if spec.MaxFailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		l.Add(field.Required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if m := spec.ManagedBy; m != nil {
		l.All(validation.IsDomainPrefixedPath(at.Child("managedBy"), *m))
		if len(*m) > longestManager {
			l.Add(field.TooLong(at.Child("managedBy"), "", longestManager))
		}
	}
	if spec.CompletionMode != nil {
		check.OneOf(l, at.Child("completionMode"), *spec.CompletionMode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	}
	if indexed(spec) {
		indexedSpec(l, spec, at)
	}
	if spec.CompletionMode == nil || *spec.CompletionMode == batchv1.NonIndexedCompletion {
		for _, n := range []struct {
			name  string
			value *int32
		}{{"backoffLimitPerIndex", spec.BackoffLimitPerIndex}, {"maxFailedIndexes", spec.MaxFailedIndexes}} {
			if n.value != nil {
				l.Add(field.Invalid(at.Child(n.name), *n.value, "requires indexed completion mode"))
			}
		}
	}
	policies(l, spec, at)
	l.All(podspec.ValidateTemplate(&spec.Template, at.Child("template"), old))
	jobRestartPolicy(l, spec, at.Child("template", "spec", "restartPolicy"))
}

func indexedSpec(l *check.List, spec *batchv1.JobSpec, at *field.Path) {
	parallel, completions, failed := spec.Parallelism, spec.Completions, spec.MaxFailedIndexes
	atMost := func(name string, n *int32, most int32, more string) {
		if n != nil && *n > most {
			l.Add(field.Invalid(at.Child(name), *n, fmt.Sprintf("must be less than or equal to %d%s", most, more)))
		}
	}
	if completions == nil {
		l.Add(field.Required(at.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion)))
	}
	atMost("parallelism", parallel, mostIndexedParallel, fmt.Sprintf(" when completion mode is %s", batchv1.IndexedCompletion))
	if completions != nil && failed != nil && *failed > *completions {
		l.Add(field.Invalid(at.Child("maxFailedIndexes"), *failed, "must be less than or equal to completions"))
	}
	atMost("maxFailedIndexes", failed, mostFailedIndexes, "")
	if completions == nil || *completions <= manyCompletions || spec.BackoffLimitPerIndex == nil {
		return
	}
	if failed == nil {
		l.Add(field.Required(at.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
	}
	when := fmt.Sprintf(" when completions are above %d and used with backoff limit per index", manyCompletions)
	atMost("parallelism", parallel, mostParallelOfMany, when)
	atMost("maxFailedIndexes", failed, mostFailedOfMany, when)
}

// jobRestartPolicy: a pod that restarts for ever is never done.
func jobRestartPolicy(l *check.List, spec *batchv1.JobSpec, at *field.Path) {
	switch p := spec.Template.Spec.RestartPolicy; {
	case p == corev1.RestartPolicyAlways || p == "":
		l.Add(field.Required(at, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)))
	case p != corev1.RestartPolicyOnFailure && p != corev1.RestartPolicyNever:
		check.OneOf(l, at, p, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	case spec.PodFailurePolicy != nil && p != corev1.RestartPolicyNever:
		l.Add(field.Invalid(at, p, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever)))
	}
}

// completionsUpdate: an Indexed job may grow and shrink with its parallelism, others keep what they want.
func completionsUpdate(l *check.List, spec, was *batchv1.JobSpec) {
	at := specPath.Child("completions")
	if !indexed(spec) {
		l.Immutable(at, spec.Completions, was.Completions)
		return
	}
	now, before := spec.Completions, was.Completions
	if now == nil || before != nil && *now == *before || *now == *spec.Parallelism {
		return
	}
	l.Add(field.Invalid(at, *now, fmt.Sprintf("can only be modified in tandem with %s", at.Root().Child("parallelism"))))
}

// templateUpdate: a template is fixed while pods are made of it. While the job is suspended and idle, queueing systems
// may direct where its pods go and what they get.
func templateUpdate(l *check.List, j, old *batchv1.Job) {
	now, before := &j.Spec.Template, &old.Spec.Template
	suspended := old.Spec.Suspend != nil && *old.Spec.Suspend
	idle := suspended && (old.Status.StartTime == nil || hasCondition(old, batchv1.JobSuspended, corev1.ConditionTrue)) && old.Status.Active == 0
	if !idle {
		l.Immutable(specPath.Child("template"), now, before)
		return
	}
	before = before.DeepCopy()
	directions(now, before)
	resources(now.Spec.Containers, before.Spec.Containers)
	resources(now.Spec.InitContainers, before.Spec.InitContainers)
	l.Immutable(specPath.Child("template.spec"), now.Spec, before.Spec)
}

// directions copies what steers pods to nodes.
func directions(from, to *corev1.PodTemplateSpec) {
	switch now, before := from.Spec.Affinity, to.Spec.Affinity; {
	case now == nil && before != nil:
		before.NodeAffinity = nil
		if *before == (corev1.Affinity{}) {
			to.Spec.Affinity = nil
		}
	case now != nil && before == nil:
		to.Spec.Affinity = &corev1.Affinity{NodeAffinity: now.NodeAffinity}
	case now != nil:
		before.NodeAffinity = now.NodeAffinity
	}
	to.Spec.NodeSelector, to.Spec.Tolerations, to.Spec.SchedulingGates = from.Spec.NodeSelector, from.Spec.Tolerations, from.Spec.SchedulingGates
	to.Annotations, to.Labels = from.Annotations, from.Labels
}

func resources(from, to []corev1.Container) {
	if len(from) != len(to) {
		return
	}
	for i := range from {
		if from[i].Name == to[i].Name {
			to[i].Resources = from[i].Resources
		}
	}
}

func hasCondition(j *batchv1.Job, t batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	for i := range j.Status.Conditions {
		if c := &j.Status.Conditions[i]; c.Type == t && c.Status == status {
			return true
		}
	}
	return false
}
