package apps

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

var (
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
	templatePath = specPath.Child("template")
)

// countOrPercent complains about numbers below zero and texts that are no percentage.
func countOrPercent(l *check.List, v *intstr.IntOrString, at *field.Path) {
	if v.Type == intstr.String {
		l.Messages(at, *v, validation.IsValidPercent(v.StrVal))
		return
	}
	l.NotNegative(at, int64(v.IntValue()))
}

// percentOf is the number before the percent sign.
func percentOf(v *intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return n, err == nil
}

func amount(v *intstr.IntOrString) int {
	if n, ok := percentOf(v); ok {
		return n
	}
	return v.IntValue()
}

func notMoreThanAll(l *check.List, v *intstr.IntOrString, at *field.Path) {
	if n, ok := percentOf(v); ok && n > 100 {
		l.Add(field.Invalid(at, *v, "must not be greater than 100%"))
	}
}

// counts complains about status counts below zero, and about those above the number of replicas.
type statusCount struct {
	name  string
	value int32
	part  bool // cannot be greater than replicas
}

func statusCounts(l *check.List, replicas int32, counts ...statusCount) {
	for _, c := range counts {
		l.NotNegative(statusPath.Child(c.name), int64(c.value))
	}
	for _, c := range counts {
		if c.part && c.value > replicas {
			l.Add(field.Invalid(statusPath.Child(c.name), c.value, "cannot be greater than status.replicas"))
		}
	}
}

// collisions may only grow: they make the next name.
func collisions(l *check.List, now, before *int32) {
	at := statusPath.Child("collisionCount")
	if now != nil {
		l.NotNegative(at, int64(*now))
	}
	if before != nil && (now == nil || *now < *before) {
		l.Add(field.Invalid(at, int32(show.Replicas(now)), "cannot be decremented"))
	}
}

// selectorOf checks a selector that must select something, and returns it.
func selectorOf(l *check.List, s *metav1.LabelSelector, noun, wrong string) labels.Selector {
	at := specPath.Child("selector")
	if s == nil {
		// No selector matches nothing, and the template's labels neither.
		l.Add(field.Required(at, ""))
		return labels.Nothing()
	}
	l.Selector(at, s)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		l.Add(field.Invalid(at, s, "empty selector is invalid for "+noun))
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		l.Add(field.Invalid(at, s, wrong))
		return nil
	}
	return selector
}

// replicaTemplate checks the template of pods that are kept running.
func replicaTemplate(l *check.List, t, old *corev1.PodTemplateSpec, selector labels.Selector) {
	if selector == nil {
		return
	}
	selects(l, t, selector)
	l.All(podspec.ValidateTemplate(t, templatePath, old))
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		l.Add(field.NotSupported(templatePath.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		l.Add(field.Forbidden(templatePath.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
}

func selects(l *check.List, t *corev1.PodTemplateSpec, selector labels.Selector) {
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		l.Add(field.Invalid(templatePath.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
}

// templateWarnings are those for the template of a new or changed object; named says that its name becomes part of those of pods.
func templateWarnings(meta metav1.Object, t *corev1.PodTemplateSpec, named bool) []string {
	var out []string
	if m := validation.IsDNS1123Label(meta.GetName()); named && len(m) > 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", m))
	}
	return append(out, podspec.Warnings(&t.ObjectMeta, &t.Spec, templatePath)...)
}

// Deployment.

func validateNewDeployment(_ *kinds.Request, d *appsv1.Deployment) field.ErrorList {
	return validateDeployment(d, nil)
}

func validateDeploymentUpdate(_ *kinds.Request, d, old *appsv1.Deployment) field.ErrorList {
	l := check.List{ErrorList: validateDeployment(d, &old.Spec.Template)}
	l.Immutable(specPath.Child("selector"), d.Spec.Selector, old.Spec.Selector)
	return l.ErrorList
}

func validateDeployment(d *appsv1.Deployment, old *corev1.PodTemplateSpec) field.ErrorList {
	var l check.List
	spec := &d.Spec
	l.NotNegative(specPath.Child("replicas"), show.Replicas(spec.Replicas))
	replicaTemplate(&l, &spec.Template, old, selectorOf(&l, spec.Selector, "deployment", "invalid label selector"))
	deploymentStrategy(&l, &spec.Strategy)
	l.NotNegative(specPath.Child("minReadySeconds"), int64(spec.MinReadySeconds))
	if n := spec.RevisionHistoryLimit; n != nil {
		l.NotNegative(specPath.Child("revisionHistoryLimit"), int64(*n))
	}
	if n := spec.ProgressDeadlineSeconds; n != nil {
		l.NotNegative(specPath.Child("progressDeadlineSeconds"), int64(*n))
		if *n <= spec.MinReadySeconds {
			l.Add(field.Invalid(specPath.Child("progressDeadlineSeconds"), n, "must be greater than minReadySeconds"))
		}
	}
	return l.ErrorList
}

func deploymentStrategy(l *check.List, s *appsv1.DeploymentStrategy) {
	at := specPath.Child("strategy")
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			l.Add(field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'"))
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			l.Add(field.Required(rolling, "this should be defaulted and never be nil"))
			return
		}
		down, up := s.RollingUpdate.MaxUnavailable, s.RollingUpdate.MaxSurge
		countOrPercent(l, down, rolling.Child("maxUnavailable"))
		countOrPercent(l, up, rolling.Child("maxSurge"))
		if amount(down) == 0 && amount(up) == 0 {
			l.Add(field.Invalid(rolling.Child("maxUnavailable"), *down, "may not be 0 when `maxSurge` is 0"))
		}
		notMoreThanAll(l, down, rolling.Child("maxUnavailable"))
	default:
		l.Add(field.NotSupported(at, s, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType}))
	}
}

func validateDeploymentStatus(_ *kinds.Request, d, old *appsv1.Deployment) field.ErrorList {
	var l check.List
	s := &d.Status
	l.NotNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
	statusCounts(&l, s.Replicas, statusCount{"replicas", s.Replicas, false}, statusCount{"updatedReplicas", s.UpdatedReplicas, true},
		statusCount{"readyReplicas", s.ReadyReplicas, true}, statusCount{"availableReplicas", s.AvailableReplicas, true},
		statusCount{"unavailableReplicas", s.UnavailableReplicas, false}, statusCount{"terminatingReplicas", int32(show.Replicas(s.TerminatingReplicas)), false})
	if s.AvailableReplicas > s.ReadyReplicas {
		l.Add(field.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	collisions(&l, s.CollisionCount, old.Status.CollisionCount)
	return l.ErrorList
}

// ReplicaSet.

func validateNewReplicaSet(_ *kinds.Request, rs *appsv1.ReplicaSet) field.ErrorList {
	return validateReplicaSet(rs, nil)
}

func validateReplicaSetUpdate(_ *kinds.Request, rs, old *appsv1.ReplicaSet) field.ErrorList {
	l := check.List{ErrorList: validateReplicaSet(rs, &old.Spec.Template)}
	l.Immutable(specPath.Child("selector"), rs.Spec.Selector, old.Spec.Selector)
	return l.ErrorList
}

func validateReplicaSet(rs *appsv1.ReplicaSet, old *corev1.PodTemplateSpec) field.ErrorList {
	var l check.List
	l.NotNegative(specPath.Child("replicas"), show.Replicas(rs.Spec.Replicas))
	l.NotNegative(specPath.Child("minReadySeconds"), int64(rs.Spec.MinReadySeconds))
	// Upstream says deployment here as well.
	replicaTemplate(&l, &rs.Spec.Template, old, selectorOf(&l, rs.Spec.Selector, "deployment", "invalid label selector"))
	return l.ErrorList
}

func validateReplicaSetStatus(_ *kinds.Request, rs, _ *appsv1.ReplicaSet) field.ErrorList {
	var l check.List
	s := &rs.Status
	statusCounts(&l, s.Replicas, statusCount{"replicas", s.Replicas, false}, statusCount{"fullyLabeledReplicas", s.FullyLabeledReplicas, true},
		statusCount{"readyReplicas", s.ReadyReplicas, true}, statusCount{"availableReplicas", s.AvailableReplicas, true},
		statusCount{"terminatingReplicas", int32(show.Replicas(s.TerminatingReplicas)), false})
	l.NotNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)
	if s.AvailableReplicas > s.ReadyReplicas {
		l.Add(field.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than readyReplicas"))
	}
	return l.ErrorList
}
