package pvbinder

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func volume(name, size string, changes ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
	}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
	for _, change := range changes {
		change(v)
	}
	return v
}

func TestMatch(t *testing.T) {
	claim := func(changes ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "u"}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("5Gi")}},
		}}
		for _, change := range changes {
			change(c)
		}
		return c
	}
	ref := func(name, uid string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: name, UID: types.UID(uid)}
		}
	}
	fast := func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "fast" }
	tests := []struct {
		name    string
		claim   *corev1.PersistentVolumeClaim
		volumes []*corev1.PersistentVolume
		want    string
	}{
		{name: "the smallest that is large enough", claim: claim(), volumes: []*corev1.PersistentVolume{volume("big", "100Gi"), volume("small", "1Gi"), volume("right", "5Gi")}, want: "right"},
		{name: "one that was set aside, however large", claim: claim(), volumes: []*corev1.PersistentVolume{volume("right", "5Gi"), volume("mine", "100Gi", ref("data", ""))}, want: "mine"},
		{name: "not one that was set aside for another", claim: claim(), volumes: []*corev1.PersistentVolume{volume("other", "5Gi", ref("x", ""))}},
		{name: "not one of an earlier claim of that name", claim: claim(), volumes: []*corev1.PersistentVolume{volume("old", "5Gi", ref("data", "other"))}},
		{name: "of the same class", claim: claim(func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To("fast") }), volumes: []*corev1.PersistentVolume{volume("slow", "5Gi"), volume("fast", "9Gi", fast)}, want: "fast"},
		{name: "without a class means without", claim: claim(), volumes: []*corev1.PersistentVolume{volume("fast", "9Gi", fast)}},
		{name: "in every mode that is asked for", claim: claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = append(c.Spec.AccessModes, corev1.ReadWriteMany)
		}), volumes: []*corev1.PersistentVolume{volume("a", "5Gi")}},
		{name: "raw is not a file system", claim: claim(func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }), volumes: []*corev1.PersistentVolume{volume("a", "5Gi")}},
		{name: "with the labels that are asked for", claim: claim(func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"disk": "ssd"}}
		}), volumes: []*corev1.PersistentVolume{volume("a", "5Gi"), volume("b", "50Gi", func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"disk": "ssd"} })}, want: "b"},
		{name: "not one that was used before", claim: claim(), volumes: []*corev1.PersistentVolume{volume("a", "5Gi", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased })}},
		{name: "not one that is going", claim: claim(), volumes: []*corev1.PersistentVolume{volume("a", "5Gi", func(v *corev1.PersistentVolume) { v.DeletionTimestamp = ptr.To(metav1.Now()) })}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if v := match(tt.claim, tt.volumes); v != nil {
				got = v.Name
			}
			if got != tt.want {
				t.Errorf("matched %q, want %q", got, tt.want)
			}
		})
	}
}
