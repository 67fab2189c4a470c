package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

// PrepareNewPod sets what the server decides about a new pod: its first status, and what follows from the rest of it. It
// returns what users should know of that.
func PrepareNewPod(pod *corev1.Pod) (warnings []string) {
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	dropOldAnnotations(pod.Annotations)
	DropOff(&pod.Spec, nil)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates", LastTransitionTime: metav1.Now(),
		}}
	}
	mergeLabelKeys(pod)
	warnings = appArmorFromAnnotations(pod)
	DefaultPodLevel(pod)
	pod.Status.QOSClass = QOS(pod)
	return warnings
}

// mergeLabelKeys writes the pod's own values of matchLabelKeys into the selectors, so that the scheduler need not.
func mergeLabelKeys(pod *corev1.Pod) {
	add := func(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		if s == nil {
			return
		}
		for _, key := range keys {
			if value, has := pod.Labels[key]; has {
				s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	term := func(t *corev1.PodAffinityTerm) {
		add(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		add(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			term(&required[i])
		}
		for i := range preferred {
			term(&preferred[i].PodAffinityTerm)
		}
	}
	if a := pod.Spec.Affinity; a != nil {
		if p := a.PodAffinity; p != nil {
			terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if p := a.PodAntiAffinity; p != nil {
			terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		add(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// appArmorFromAnnotations copies profiles that stand only in the annotations of old into the fields, and warns of those
// annotations that say what no field does, or nothing.
func appArmorFromAnnotations(pod *corev1.Pod) (warnings []string) {
	if pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows {
		return nil
	}
	var whole *corev1.AppArmorProfile
	if pod.Spec.SecurityContext != nil {
		whole = pod.Spec.SecurityContext.AppArmorProfile
	}
	Containers(&pod.Spec, nil, func(c *corev1.Container, _ *field.Path) {
		key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		text, has := pod.Annotations[key]
		if !has || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return
		}
		profile := appArmorProfile(text)
		useless := profile == nil || len(validateAppArmor(profile, field.NewPath(""))) > 0
		if !useless && apiequality.Semantic.DeepEqual(profile, whole) {
			return
		}
		warnings = append(warnings, fmt.Sprintf("%s: %s", field.NewPath("metadata", "annotations").Key(key), appArmorAnnotationOld))
		if useless {
			return
		}
		if c.SecurityContext == nil {
			c.SecurityContext = &corev1.SecurityContext{}
		}
		c.SecurityContext.AppArmorProfile = profile
	})
	return warnings
}

const appArmorAnnotationOld = `deprecated since v1.30; use the "appArmorProfile" field instead`

// appArmorProfile is the profile that an annotation means; nil for one that means nothing.
func appArmorProfile(annotation string) *corev1.AppArmorProfile {
	switch annotation {
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	}
	if name, ok := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix); ok && name != "" {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

// DefaultPodLevel completes resources of the pod as a whole from those of its containers, where something is said about
// the pod as a whole at all.
func DefaultPodLevel(pod *corev1.Pod) {
	r := pod.Spec.Resources
	if r == nil || len(r.Requests) == 0 && len(r.Limits) == 0 {
		return
	}
	containers := &corev1.Pod{Spec: corev1.PodSpec{Containers: pod.Spec.Containers, InitContainers: pod.Spec.InitContainers}}
	limits := resourcehelper.AggregateContainerLimits(containers, resourcehelper.PodResourcesOptions{})
	requests := resourcehelper.AggregateContainerRequests(containers, resourcehelper.PodResourcesOptions{})
	for name, q := range limits {
		if _, requested := r.Requests[name]; hugePages(name) && !requested {
			setMissing(&r.Limits, name, q)
		}
	}
	for name, q := range requests {
		if resourcehelper.IsSupportedPodLevelResource(name) && overcommittable(name) {
			setMissing(&r.Requests, name, q)
		}
	}
	for name, q := range r.Limits {
		if resourcehelper.IsSupportedPodLevelResource(name) {
			setMissing(&r.Requests, name, q)
		}
	}
	limitPodLevel(&pod.Spec, limits)
}

// limitPodLevel limits the pod to the sum of its containers, if each of them is limited and if that covers the request.
func limitPodLevel(spec *corev1.PodSpec, sum corev1.ResourceList) {
	for name, request := range spec.Resources.Requests {
		if _, limited := spec.Resources.Limits[name]; limited || !resourcehelper.IsSupportedPodLevelResource(name) {
			continue
		}
		all := true
		Containers(spec, nil, func(c *corev1.Container, _ *field.Path) {
			if _, limited := c.Resources.Limits[name]; !limited {
				all = false
			}
		})
		limit, has := sum[name]
		if !all || !has {
			continue
		}
		if request.Cmp(limit) > 0 {
			limit = request
		}
		setMissing(&spec.Resources.Limits, name, limit)
	}
}
