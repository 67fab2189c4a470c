package batch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// How much a policy may hold.
const (
	mostFailureRules   = 20
	mostExitCodes      = 255
	mostPodConditions  = 20
	mostSuccessRules   = 20
	longestIndexesText = 64 * 1024
)

var (
	failureActions = []batchv1.PodFailurePolicyAction{batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore}
	exitCodeOperators = []batchv1.PodFailurePolicyOnExitCodesOperator{batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn}
	conditionStatuses = []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
)

// policies say when a job has failed, when it has succeeded, and when a pod is replaced.
func policies(l *check.List, spec *batchv1.JobSpec, at *field.Path) {
	if p := spec.PodFailurePolicy; p != nil {
		failurePolicy(l, spec, at.Child("podFailurePolicy", "rules"))
	}
	if p := spec.SuccessPolicy; p != nil {
		if indexed(spec) {
			successPolicy(l, spec, at.Child("successPolicy", "rules"))
		} else {
			l.Add(field.Invalid(at.Child("successPolicy"), *p, "requires indexed completion mode"))
		}
	}
	if p := spec.PodReplacementPolicy; p != nil {
		known := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
		if spec.PodFailurePolicy != nil {
			// Whether a pod failed is known once it has ended.
			known = known[:1]
		}
		check.OneOf(l, at.Child("podReplacementPolicy"), *p, known...)
	}
}

func failurePolicy(l *check.List, spec *batchv1.JobSpec, at *field.Path) {
	rules := spec.PodFailurePolicy.Rules
	if len(rules) > mostFailureRules {
		l.Add(field.TooMany(at, len(rules), mostFailureRules))
	}
	var containers []string
	for i := range spec.Template.Spec.Containers {
		containers = append(containers, spec.Template.Spec.Containers[i].Name)
	}
	for i := range spec.Template.Spec.InitContainers {
		containers = append(containers, spec.Template.Spec.InitContainers[i].Name)
	}
	for i := range rules {
		failureRule(l, spec, &rules[i], containers, at.Index(i))
	}
}

// valid words the refusal of an empty value.
func valid[T ~string](l *check.List, at *field.Path, value T, known []T) {
	if value == "" {
		l.Add(field.Required(at, fmt.Sprintf("valid values: %q", known)))
		return
	}
	check.OneOf(l, at, value, known...)
}

func failureRule(l *check.List, spec *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, containers []string, at *field.Path) {
	valid(l, at.Child("action"), r.Action, failureActions)
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && spec.BackoffLimitPerIndex == nil {
		l.Add(field.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
	}
	if r.OnExitCodes != nil {
		exitCodes(l, r.OnExitCodes, containers, at.Child("onExitCodes"))
	}
	conditions := at.Child("onPodConditions")
	if len(r.OnPodConditions) > mostPodConditions {
		l.Add(field.TooMany(conditions, len(r.OnPodConditions), mostPodConditions))
	}
	for i, c := range r.OnPodConditions {
		l.Qualified(conditions.Index(i).Child("type"), string(c.Type))
		valid(l, conditions.Index(i).Child("status"), c.Status, conditionStatuses)
	}
	if codes, conds := r.OnExitCodes != nil, len(r.OnPodConditions) > 0; codes && conds {
		l.Add(field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	} else if !codes && !conds {
		l.Add(field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
}

func exitCodes(l *check.List, r *batchv1.PodFailurePolicyOnExitCodesRequirement, containers []string, at *field.Path) {
	valid(l, at.Child("operator"), r.Operator, exitCodeOperators)
	if r.ContainerName != nil && !slices.Contains(containers, *r.ContainerName) {
		l.Add(field.Invalid(at.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template"))
	}
	values := at.Child("values")
	if len(r.Values) == 0 {
		l.Add(field.Invalid(values, r.Values, "at least one value is required"))
	} else if len(r.Values) > mostExitCodes {
		l.Add(field.TooMany(values, len(r.Values), mostExitCodes))
	}
	for i, code := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && code == 0 {
			l.Add(field.Invalid(values.Index(i), code, "must not be 0 for the In operator"))
		}
		if slices.Contains(r.Values[:i], code) {
			l.Add(field.Duplicate(values.Index(i), code))
		}
	}
	if !slices.IsSorted(r.Values) {
		l.Add(field.Invalid(values, r.Values, "must be ordered"))
	}
}

func successPolicy(l *check.List, spec *batchv1.JobSpec, at *field.Path) {
	rules := spec.SuccessPolicy.Rules
	if len(rules) == 0 {
		l.Add(field.Required(at, "at least one rules must be specified when the successPolicy is specified"))
	}
	if len(rules) > mostSuccessRules {
		l.Add(field.TooMany(at, len(rules), mostSuccessRules))
	}
	var completions int32
	if spec.Completions != nil {
		completions = *spec.Completions
	}
	for i := range rules {
		successRule(l, &rules[i], completions, at.Index(i))
	}
}

func successRule(l *check.List, r *batchv1.SuccessPolicyRule, completions int32, at *field.Path) {
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		l.Add(field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	var total int32
	if r.SucceededIndexes != nil {
		p := at.Child("succeededIndexes")
		if len(*r.SucceededIndexes) > longestIndexesText {
			l.Add(field.TooLong(p, "", longestIndexesText))
		}
		list, err := parseIndexes(*r.SucceededIndexes, completions)
		if err != nil {
			l.Add(field.Invalid(p, *r.SucceededIndexes, fmt.Sprintf("error parsing succeededIndexes: %s", err)))
		}
		total = list.count()
	}
	if n := r.SucceededCount; n != nil {
		p := at.Child("succeededCount")
		l.NotNegative(p, int64(*n))
		if *n > completions {
			l.Add(field.Invalid(p, *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
		}
		if r.SucceededIndexes != nil && *n > total {
			l.Add(field.Invalid(p, *n, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total)))
		}
	}
}

// span is a range of indexes, both ends included.
type span struct{ from, to int32 }

type spans []span

func (s spans) count() int32 {
	var n int32
	for _, r := range s {
		n += r.to - r.from + 1
	}
	return n
}

// overlap returns the first index that both lists have.
func (s spans) overlap(other spans) (int32, bool) {
	for len(s) > 0 && len(other) > 0 {
		a, b := s[0], other[0]
		if a.from <= b.to && b.from <= a.to {
			return max(a.from, b.from), true
		}
		if a.from <= b.from {
			s = s[1:]
		} else {
			other = other[1:]
		}
	}
	return 0, false
}

// parseIndexes reads "1,3-5,7", in increasing order and below completions.
func parseIndexes(text string, completions int32) (spans, error) {
	if text == "" {
		return nil, nil
	}
	var out spans
	for _, part := range strings.Split(text, ",") {
		s, err := parseSpan(part, completions)
		if err != nil {
			return nil, err
		}
		if n := len(out); n > 0 && out[n-1].to >= s.from {
			return nil, outOfOrder(out[n-1].to, s.from)
		}
		out = append(out, s)
	}
	return out, nil
}

// parsable is what can be read of a list, for checks beside the one of its form.
func parsable(text string, completions int32) spans {
	var out spans
	for _, part := range strings.Split(text, ",") {
		if s, err := parseSpan(part, completions); err == nil {
			out = append(out, s)
		}
	}
	return out
}

func outOfOrder(before, now int32) error {
	return fmt.Errorf("non-increasing order, previous: %d, current: %d", before, now)
}

func parseSpan(text string, completions int32) (span, error) {
	parts := strings.Split(text, "-")
	if len(parts) > 2 {
		return span{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	from, err := parseIndex(parts[0], completions)
	if err != nil || len(parts) == 1 {
		return span{from, from}, err
	}
	to, err := parseIndex(parts[1], completions)
	if err == nil && from >= to {
		err = outOfOrder(from, to)
	}
	return span{from, to}, err
}

func parseIndex(text string, completions int32) (int32, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	if n >= int(completions) {
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return int32(n), nil
}
