package apps

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/show"
)

// setCheck says how much of a StatefulSet is looked at.
type setCheck struct {
	// stored is an object that is there already: what cannot change is not looked at again.
	stored bool
	// brokenTemplate: the template was wrong before, by rules that came later.
	brokenTemplate bool
	old            *corev1.PodTemplateSpec
}

func validateNewStatefulSet(_ *kinds.Request, s *appsv1.StatefulSet) field.ErrorList {
	return validateStatefulSet(s, setCheck{})
}

func validateStatefulSetUpdate(_ *kinds.Request, s, old *appsv1.StatefulSet) field.ErrorList {
	how := setCheck{stored: true, old: &old.Spec.Template}
	how.brokenTemplate = len(validateStatefulSet(old, how)) > 0
	l := check.List{ErrorList: validateStatefulSet(s, how)}
	l.Immutable(specPath.Child("selector"), s.Spec.Selector, old.Spec.Selector)
	l.Immutable(specPath.Child("volumeClaimTemplates"), s.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates)
	l.Immutable(specPath.Child("serviceName"), s.Spec.ServiceName, old.Spec.ServiceName)
	l.Immutable(specPath.Child("podManagementPolicy"), s.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy)
	return l.ErrorList
}

func validateStatefulSet(s *appsv1.StatefulSet, how setCheck) field.ErrorList {
	var l check.List
	spec := &s.Spec
	switch p := spec.PodManagementPolicy; p {
	case "":
		l.Add(field.Required(specPath.Child("podManagementPolicy"), ""))
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		l.Add(field.Invalid(specPath.Child("podManagementPolicy"), p, fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	setStrategy(&l, &spec.UpdateStrategy)
	if p := spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		at := specPath.Child("persistentVolumeClaimRetentionPolicy")
		for _, f := range []struct {
			name   string
			policy appsv1.PersistentVolumeClaimRetentionPolicyType
		}{{"whenDeleted", p.WhenDeleted}, {"whenScaled", p.WhenScaled}} {
			check.OneOf(&l, at.Child(f.name), f.policy, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
		}
	}
	if !how.stored {
		for i := range spec.VolumeClaimTemplates {
			l.All(podspec.ValidateClaimSpec(&spec.VolumeClaimTemplates[i].Spec, specPath.Child("volumeClaimTemplates").Index(i).Child("spec"), podspec.ClaimOptions{}))
		}
	}
	l.NotNegative(specPath.Child("replicas"), show.Replicas(spec.Replicas))
	l.NotNegative(specPath.Child("minReadySeconds"), int64(spec.MinReadySeconds))
	if spec.Ordinals != nil {
		l.NotNegative(specPath.Child("ordinals.start"), int64(spec.Ordinals.Start))
	}
	if !how.stored && spec.ServiceName != "" {
		l.Label(specPath.Child("serviceName"), spec.ServiceName)
	}
	if selector := selectorOf(&l, spec.Selector, "statefulset", ""); selector != nil {
		setTemplate(&l, spec, how)
	}
	if p := spec.Template.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		l.Add(field.NotSupported(templatePath.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if spec.Template.Spec.ActiveDeadlineSeconds != nil {
		l.Add(field.Forbidden(templatePath.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in StatefulSet is not Supported"))
	}
	return l.ErrorList
}

// setTemplate checks the template as its pods will be: with their own claims as volumes, and names of their own.
func setTemplate(l *check.List, spec *appsv1.StatefulSetSpec, how setCheck) {
	t := spec.Template.DeepCopy()
	t.Spec.Hostname, t.Spec.Subdomain = "", ""
	own := map[string]bool{}
	var volumes []corev1.Volume
	for i := range spec.VolumeClaimTemplates {
		name := spec.VolumeClaimTemplates[i].Name
		if own[name] {
			continue
		}
		own[name] = true
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
	}
	for _, v := range t.Spec.Volumes {
		if !own[v.Name] {
			volumes = append(volumes, v)
		}
	}
	if len(own) > 0 {
		t.Spec.Volumes = volumes
	}
	selector := selectorOf(&check.List{}, spec.Selector, "", "")
	selects(l, t, selector)
	if !how.brokenTemplate {
		l.All(podspec.ValidateTemplate(t, templatePath, how.old))
		return
	}
	l.Labels(templatePath.Child("labels"), t.Labels)
	l.All(apivalidation.ValidateAnnotations(t.Annotations, templatePath.Child("annotations")))
	l.All(podspec.ValidateAnnotations(t.Annotations, &t.Spec, templatePath.Child("annotations")))
}

func setStrategy(l *check.List, s *appsv1.StatefulSetUpdateStrategy) {
	at := specPath.Child("updateStrategy")
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case "":
		l.Add(field.Required(at, ""))
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			l.Add(field.Invalid(rolling, s.RollingUpdate, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType)))
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r := s.RollingUpdate; r != nil {
			l.NotNegative(rolling.Child("partition"), show.Replicas(r.Partition))
			if down := r.MaxUnavailable; down != nil {
				p := rolling.Child("maxUnavailable")
				countOrPercent(l, down, p)
				if amount(down) == 0 {
					l.Add(field.Invalid(p, *down, "cannot be 0"))
				}
				notMoreThanAll(l, down, p)
			}
		}
	default:
		l.Add(field.Invalid(at, *s, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType)))
	}
}

func validateStatefulSetStatus(_ *kinds.Request, s, old *appsv1.StatefulSet) field.ErrorList {
	var l check.List
	st := &s.Status
	statusCounts(&l, st.Replicas, statusCount{"replicas", st.Replicas, false}, statusCount{"readyReplicas", st.ReadyReplicas, true},
		statusCount{"currentReplicas", st.CurrentReplicas, true}, statusCount{"updatedReplicas", st.UpdatedReplicas, true},
		statusCount{"availableReplicas", st.AvailableReplicas, true})
	l.NotNegative(statusPath.Child("observedGeneration"), st.ObservedGeneration)
	if st.AvailableReplicas > st.ReadyReplicas {
		l.Add(field.Invalid(statusPath.Child("availableReplicas"), st.AvailableReplicas, "cannot be greater than status.readyReplicas"))
	}
	collisions(&l, st.CollisionCount, old.Status.CollisionCount)
	return l.ErrorList
}

func statefulSetWarnings(_ *kinds.Request, s, old *appsv1.StatefulSet) []string {
	var out []string
	if old == nil || s.Generation != old.Generation {
		out = templateWarnings(s, &s.Spec.Template, false)
	}
	for i := range s.Spec.VolumeClaimTemplates {
		at := specPath.Child("volumeClaimTemplates").Index(i)
		if old != nil {
			at = at.Child("Spec")
		}
		out = append(out, podspec.ClaimWarnings(&s.Spec.VolumeClaimTemplates[i].Spec, at)...)
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}
