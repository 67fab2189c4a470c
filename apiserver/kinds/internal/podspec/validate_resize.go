package podspec

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

// ValidateResize checks a change of cpu and memory of a pod that may be running.
func ValidateResize(pod, old *corev1.Pod) field.ErrorList {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	var l check.List
	l.All(check.PodMeta(pod))
	l.All(validatePodWhole(pod, old))
	class := old.Status.QOSClass
	if class == "" {
		class = QOS(old)
	}
	if class != QOS(pod) {
		l.Add(field.Invalid(specPath, pod.Status.QOSClass, "Pod QOS Class may not change as a result of resizing"))
	}
	for i := range old.Status.ContainerStatuses {
		if s := &old.Status.ContainerStatuses[i]; s.State.Running != nil {
			if s.Resources == nil {
				l.Add(field.Forbidden(specPath, "Pod running on node without support for resize"))
			}
			break
		}
	}
	rest := pod.Spec.DeepCopy()
	if hasResources(old.Spec.Resources) || hasResources(pod.Spec.Resources) {
		resizeWhole(&l, pod, old, rest)
	}
	if resizeOrder(&l, pod, old) {
		return l.ErrorList
	}
	for i := range old.Spec.InitContainers {
		resizeKeeps(&l, &pod.Spec.InitContainers[i].Resources, &old.Spec.InitContainers[i].Resources, specPath.Child("initContainers").Index(i).Child("resources"))
	}
	for i := range old.Spec.Containers {
		resizeKeeps(&l, &pod.Spec.Containers[i].Resources, &old.Spec.Containers[i].Resources, specPath.Child("containers").Index(i).Child("resources"))
	}
	for i := range rest.Containers {
		was := &old.Spec.Containers[i]
		forgetCompute(&rest.Containers[i].Resources, &was.Resources)
		if !apiequality.Semantic.DeepEqual(rest.Containers[i], *was) {
			l.Add(field.Forbidden(specPath, "only cpu and memory resources are mutable"))
		}
	}
	resizeInit(&l, rest, old)
	if !apiequality.Semantic.DeepEqual(pod.Spec.Volumes, old.Spec.Volumes) {
		l.Add(field.Forbidden(specPath.Child("volumes"), "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled"))
	}
	if len(l.ErrorList) == 0 && !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		l.Add(field.Forbidden(specPath, "only cpu and memory resources are mutable"))
	}
	return l.ErrorList
}

func hasResources(r *corev1.ResourceRequirements) bool {
	return r != nil && len(r.Requests)+len(r.Limits) > 0
}

func resizeWhole(l *check.List, pod, old *corev1.Pod, rest *corev1.PodSpec) {
	at := specPath.Child("resources")
	was := old.Spec.Resources
	if was != nil && pod.Spec.Resources == nil {
		l.Add(field.Forbidden(at, "pod-level resources cannot be removed"))
		return
	}
	if was != nil {
		if removed(pod.Spec.Resources.Requests, was.Requests) {
			l.Add(field.Forbidden(at.Child("requests"), "pod-level resource requests cannot be removed"))
		}
		if removed(pod.Spec.Resources.Limits, was.Limits) {
			l.Add(field.Forbidden(at.Child("limits"), "pod-level resource limits cannot be removed"))
		}
	}
	if rest.Resources != nil {
		before := was
		if before == nil {
			before = &corev1.ResourceRequirements{}
		}
		claims := rest.Resources.Claims
		forgetCompute(rest.Resources, before)
		if was == nil && !hasResources(rest.Resources) && len(claims) == 0 {
			rest.Resources = nil
		}
	}
	if !apiequality.Semantic.DeepEqual(rest.Resources, was) {
		l.Add(field.Forbidden(specPath, "only cpu and memory resources are mutable at pod-level"))
	}
}

// resizeOrder says whether containers came, went or changed places.
func resizeOrder(l *check.List, pod, old *corev1.Pod) bool {
	faults := len(l.ErrorList)
	same := func(kind string, now, before []corev1.Container) {
		at := specPath.Child(kind)
		if len(now) != len(before) {
			l.Add(field.Forbidden(at, kind+" may not be added or removed on resize"))
			return
		}
		for i := range before {
			if now[i].Name != before[i].Name {
				l.Add(field.Forbidden(at.Index(i).Child("name"), kind+" may not be renamed or reordered on resize"))
			}
		}
	}
	same("containers", pod.Spec.Containers, old.Spec.Containers)
	same("initContainers", pod.Spec.InitContainers, old.Spec.InitContainers)
	return len(l.ErrorList) > faults
}

func resizeKeeps(l *check.List, now, before *corev1.ResourceRequirements, at *field.Path) {
	if removed(now.Requests, before.Requests) {
		l.Add(field.Forbidden(at.Child("requests"), "resource requests cannot be removed"))
	}
	if removed(now.Limits, before.Limits) {
		l.Add(field.Forbidden(at.Child("limits"), "resource limits cannot be removed"))
	}
}

func removed(now, before corev1.ResourceList) bool {
	for name := range before {
		if _, has := now[name]; !has {
			return true
		}
	}
	return false
}

// resizeInit: an init container is resized where it runs beside the app, or where it need not be restarted for it.
func resizeInit(l *check.List, rest *corev1.PodSpec, old *corev1.Pod) {
	for i := range rest.InitContainers {
		c, was := &rest.InitContainers[i], &old.Spec.InitContainers[i]
		at := specPath.Child("initContainers").Index(i)
		changed := !apiequality.Semantic.DeepEqual(*c, *was)
		forgetCompute(&c.Resources, &was.Resources)
		if !apiequality.Semantic.DeepEqual(*c, *was) {
			l.Add(field.Forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable"))
		}
		if !changed || restartable(c) {
			continue
		}
		for _, p := range c.ResizePolicy {
			if p.RestartPolicy == corev1.RestartContainer {
				l.Add(field.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
			}
		}
	}
}

// forgetCompute puts cpu and memory back to what they were.
func forgetCompute(r, was *corev1.ResourceRequirements) {
	r.Limits = withCompute(r.Limits, was.Limits)
	r.Requests = withCompute(r.Requests, was.Requests)
}

func withCompute(list, was corev1.ResourceList) corev1.ResourceList {
	if list == nil && was == nil {
		return nil
	}
	out := corev1.ResourceList{}
	for name, q := range list {
		out[name] = q
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(out, name)
		if q, had := was[name]; had {
			out[name] = q
		}
	}
	return out
}
