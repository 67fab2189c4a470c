package statefulset

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/controller-manager/control"
)

// ordinal answers the number of a pod by its name, and the name of its set; -1 if it has none.
func ordinal(pod *corev1.Pod) (set string, number int) {
	i := strings.LastIndexByte(pod.Name, '-')
	if i < 0 {
		return "", -1
	}
	n, err := strconv.ParseUint(pod.Name[i+1:], 10, 31)
	if err != nil {
		return "", -1
	}
	return pod.Name[:i], int(n)
}

func first(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals != nil {
		return int(set.Spec.Ordinals.Start)
	}
	return 0
}

func replicas(set *appsv1.StatefulSet) int { return int(ptr.Deref(set.Spec.Replicas, 1)) }

func inRange(set *appsv1.StatefulSet, number int) bool {
	return number >= first(set) && number < first(set)+replicas(set)
}

func podName(set *appsv1.StatefulSet, number int) string {
	return set.Name + "-" + strconv.Itoa(number)
}

// newPod answers the pod of that number, from template, which is of revision.
func newPod(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, number int) *corev1.Pod {
	pod := control.PodFrom(template, set, control.Reference(set, kind))
	pod.GenerateName, pod.Name = "", podName(set, number)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.StatefulSetRevisionLabel] = revision
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
	identify(set, pod, number)
	return pod
}

// identify gives a pod the labels and volumes that its number stands for, and says whether that changed anything.
func identify(set *appsv1.StatefulSet, pod *corev1.Pod, number int) bool {
	changed := false
	if pod.Labels[appsv1.StatefulSetPodNameLabel] != pod.Name {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
		pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(number)
		changed = true
	}
	if claimsMounted(set, pod, number) {
		return changed
	}
	claims := claims(set, number)
	var volumes []corev1.Volume
	for _, t := range set.Spec.VolumeClaimTemplates {
		volumes = append(volumes, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claims[t.Name].Name},
		}})
	}
	for _, v := range pod.Spec.Volumes {
		if _, ours := claims[v.Name]; !ours {
			volumes = append(volumes, v)
		}
	}
	pod.Spec.Volumes = volumes
	return true
}

func claimsMounted(set *appsv1.StatefulSet, pod *corev1.Pod, number int) bool {
	for name, claim := range claims(set, number) {
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
		if i < 0 || pod.Spec.Volumes[i].PersistentVolumeClaim == nil || pod.Spec.Volumes[i].PersistentVolumeClaim.ClaimName != claim.Name {
			return false
		}
	}
	return true
}

// claims answers the claims of the pod of that number, by the name of their template.
func claims(set *appsv1.StatefulSet, number int) map[string]*corev1.PersistentVolumeClaim {
	all := map[string]*corev1.PersistentVolumeClaim{}
	for i := range set.Spec.VolumeClaimTemplates {
		claim := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		template := claim.Name
		claim.Name, claim.Namespace = template+"-"+set.Name+"-"+strconv.Itoa(number), set.Namespace
		labels := maps.Clone(claim.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, set.Spec.Selector.MatchLabels)
		claim.Labels = labels
		all[template] = claim
	}
	return all
}
