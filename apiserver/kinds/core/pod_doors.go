package core

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/podspec"
)

var podVerbs = []string{"get", "patch", "update"}

// ephemeralContainersDoor adds containers to a pod that runs; it changes nothing else of it.
var ephemeralContainersDoor = &kinds.Subresource{
	GVK: corev1.SchemeGroupVersion.WithKind("Pod"), Verbs: podVerbs,
	Update: &kinds.UpdateDoor{
		Resets: []string{"status"},
		Prepare: func(_ *kinds.Request, o, oldObj runtime.Object) {
			pod, old := o.(*corev1.Pod), oldObj.(*corev1.Pod)
			added := pod.Spec.EphemeralContainers
			pod.Spec = *old.Spec.DeepCopy()
			pod.Status = *old.Status.DeepCopy()
			metav1.ResetObjectMetaForStatus(pod, old)
			pod.Spec.EphemeralContainers = added
			podspec.DropOff(&pod.Spec, &old.Spec)
			countPodGeneration(pod, old)
		},
		Validate: func(_ *kinds.Request, o, old runtime.Object) field.ErrorList {
			return append(kinds.ValidateMetaUpdate(o.(*corev1.Pod), old.(*corev1.Pod), kinds.Namespaced),
				podspec.ValidateEphemeralUpdate(o.(*corev1.Pod), old.(*corev1.Pod))...)
		},
	},
}

// resizeDoor changes cpu and memory of a pod that runs.
var resizeDoor = &kinds.Subresource{
	GVK: corev1.SchemeGroupVersion.WithKind("Pod"), Verbs: podVerbs,
	Update: &kinds.UpdateDoor{
		Resets:  []string{"status"},
		Prepare: func(_ *kinds.Request, o, old runtime.Object) { prepareResize(o.(*corev1.Pod), old.(*corev1.Pod)) },
		Validate: func(_ *kinds.Request, o, old runtime.Object) field.ErrorList {
			return append(kinds.ValidateMetaUpdate(o.(*corev1.Pod), old.(*corev1.Pod), kinds.Namespaced),
				podspec.ValidateResize(o.(*corev1.Pod), old.(*corev1.Pod))...)
		},
	},
}

// prepareResize leaves of the new pod its resources alone. Containers that came, went or changed places are left for
// validation to refuse, so that nobody is given resources meant for another.
func prepareResize(pod, old *corev1.Pod) {
	defer countPodGeneration(pod, old)
	if sameContainers(pod.Spec.Containers, old.Spec.Containers) && sameContainers(pod.Spec.InitContainers, old.Spec.InitContainers) {
		asked := pod.Spec
		pod.Spec = *old.Spec.DeepCopy()
		pod.Spec.Resources = asked.Resources
		takeResources(pod.Spec.Containers, asked.Containers)
		takeResources(pod.Spec.InitContainers, asked.InitContainers)
		pod.Status = *old.Status.DeepCopy()
		metav1.ResetObjectMetaForStatus(pod, old)
	}
	if pod.Spec.Resources == nil {
		pod.Spec.Resources = old.Spec.Resources.DeepCopy()
	}
	podspec.DefaultPodLevel(pod)
	podspec.DropOff(&pod.Spec, &old.Spec)
}

func sameContainers(a, b []corev1.Container) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name {
			return false
		}
	}
	return true
}

func takeResources(to, from []corev1.Container) {
	for i := range to {
		to[i].Resources = from[i].Resources
		to[i].ResizePolicy = from[i].ResizePolicy
	}
}

func countPodGeneration(pod, old *corev1.Pod) {
	pod.Generation = old.Generation
	if !apiequality.Semantic.DeepEqual(pod.Spec, old.Spec) {
		pod.Generation++
	}
}

func preparePodUpdate(_ *kinds.Request, pod, old *corev1.Pod) {
	// Clients from before pods had resources of their own drop the field when they write a pod back.
	if pod.Spec.Resources == nil && old.Spec.Resources != nil {
		pod.Spec.Resources = old.Spec.Resources.DeepCopy()
	}
	podspec.DropOff(&pod.Spec, &old.Spec)
}

// preparePodStatus keeps in the status what node agents older than this server do not know and would drop.
func preparePodStatus(_ *kinds.Request, pod, old *corev1.Pod) {
	pod.DeletionTimestamp = old.DeletionTimestamp
	pod.OwnerReferences = old.OwnerReferences
	s, was := &pod.Status, &old.Status
	if s.QOSClass == "" {
		s.QOSClass = was.QOSClass
	}
	if s.ResourceClaimStatuses == nil {
		s.ResourceClaimStatuses = was.ResourceClaimStatuses
	}
	if s.ExtendedResourceClaimStatus == nil {
		s.ExtendedResourceClaimStatus = was.ExtendedResourceClaimStatus
	}
	if s.NodeAllocatableResourceClaimStatuses == nil {
		s.NodeAllocatableResourceClaimStatuses = was.NodeAllocatableResourceClaimStatuses
	}
	if s.ObservedGeneration == 0 {
		s.ObservedGeneration = was.ObservedGeneration
	}
	seen := map[corev1.PodConditionType][]int64{}
	for _, c := range was.Conditions {
		seen[c.Type] = append(seen[c.Type], c.ObservedGeneration)
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		generations := seen[c.Type]
		if len(generations) == 0 {
			continue
		}
		seen[c.Type] = generations[1:]
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = generations[0]
		}
	}
}

// podGracePeriod: a pod that no node has, or that has ended, goes at once; any other gets time to end.
func podGracePeriod(pod *corev1.Pod, opts *metav1.DeleteOptions) (int64, bool) {
	var seconds int64
	switch {
	case opts != nil && opts.GracePeriodSeconds != nil:
		seconds = *opts.GracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		seconds = 0
	}
	if seconds < 0 {
		seconds = 1
	}
	return seconds, seconds > 0
}
