package show

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Names of containers, as one cell.
func Names(containers []corev1.Container) string {
	names := make([]string, len(containers))
	for i := range containers {
		names[i] = containers[i].Name
	}
	return strings.Join(names, ",")
}

// Images of containers, as one cell.
func Images(containers []corev1.Container) string {
	images := make([]string, len(containers))
	for i := range containers {
		images[i] = containers[i].Image
	}
	return strings.Join(images, ",")
}

// Selector is a label selector as one cell.
func Selector(s *metav1.LabelSelector) string { return metav1.FormatLabelSelector(s) }

// Labels is a set of labels as one cell.
func Labels(set map[string]string) string { return labels.FormatLabels(set) }

// Replicas is a replica count that defaulting has set.
func Replicas(n *int32) int64 {
	if n == nil {
		return 0
	}
	return int64(*n)
}

// Text is a pointer's text, or unset where there is none.
func Text[S ~string](s *S, unset string) string {
	if s == nil {
		return unset
	}
	return string(*s)
}

// Bool is a pointer's value, false where there is none.
func Bool(b *bool) bool { return b != nil && *b }

// Truth is a pointer's value as text, or unset where there is none.
func Truth(b *bool, unset string) string {
	if b == nil {
		return unset
	}
	if *b {
		return "True"
	}
	return "False"
}

// containers of a template; a ReplicationController may be stored without one.
func containers(t *corev1.PodTemplateSpec) []corev1.Container {
	if t == nil {
		return nil
	}
	return t.Spec.Containers
}

// Template is the three wide columns of a kind with a pod template.
func Template[T any](template func(T) *corev1.PodTemplateSpec) []kinds.Column[T] {
	return []kinds.Column[T]{
		{Name: "Containers", Priority: 1, Description: "Names of each container in the template.",
			Cell: func(o T) any { return Names(containers(template(o))) }},
		{Name: "Images", Priority: 1, Description: "Images referenced by each container in the template.",
			Cell: func(o T) any { return Images(containers(template(o))) }},
	}
}

// AccessModes abbreviates volume access modes, in upstream's order.
func AccessModes(modes []corev1.PersistentVolumeAccessMode) string {
	has := map[corev1.PersistentVolumeAccessMode]bool{}
	for _, m := range modes {
		has[m] = true
	}
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if has[m.mode] {
			out = append(out, m.short)
		}
	}
	return strings.Join(out, ",")
}
