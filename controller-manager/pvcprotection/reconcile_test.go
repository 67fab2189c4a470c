package pvcprotection

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestUses(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "p-data"}}
	owned := claim.DeepCopy()
	owned.OwnerReferences = []metav1.OwnerReference{{UID: "p", Controller: ptr.To(true)}}
	pod := func(node string, phase corev1.PodPhase, source corev1.VolumeSource) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p"}, Spec: corev1.PodSpec{NodeName: node, Volumes: []corev1.Volume{{Name: "data", VolumeSource: source}}}, Status: corev1.PodStatus{Phase: phase}}
	}
	direct := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "p-data"}}
	ephemeral := corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
	tests := []struct {
		name  string
		pod   *corev1.Pod
		claim *corev1.PersistentVolumeClaim
		want  bool
	}{
		{name: "a bound pod", pod: pod("n", corev1.PodRunning, direct), claim: claim, want: true},
		{name: "a pod that is not bound", pod: pod("", corev1.PodPending, direct), claim: claim},
		{name: "an ended pod is still there", pod: pod("n", corev1.PodSucceeded, direct), claim: claim, want: true},
		{name: "its own ephemeral claim", pod: pod("n", corev1.PodRunning, ephemeral), claim: owned, want: true},
		{name: "of an ended pod", pod: pod("n", corev1.PodSucceeded, ephemeral), claim: owned},
		{name: "somebody else's claim of that name", pod: pod("n", corev1.PodRunning, ephemeral), claim: claim},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := uses(tt.pod, tt.claim); got != tt.want {
				t.Errorf("uses: %v", got)
			}
		})
	}
}
