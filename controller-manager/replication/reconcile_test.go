package replication

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestThereAndBack(t *testing.T) {
	rc := &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 2},
		Spec:       corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](3), MinReadySeconds: 4, Selector: map[string]string{"a": "b"}, Template: &corev1.PodTemplateSpec{Spec: corev1.PodSpec{NodeName: "n"}}},
		Status: corev1.ReplicationControllerStatus{Replicas: 1, FullyLabeledReplicas: 2, ReadyReplicas: 3, AvailableReplicas: 4, ObservedGeneration: 5,
			Conditions: []corev1.ReplicationControllerCondition{{Type: corev1.ReplicationControllerReplicaFailure, Status: corev1.ConditionTrue, Reason: "r", Message: "m"}}},
	}
	if got := asController(asSet(rc)); !equality.Semantic.DeepEqual(got, rc) {
		t.Errorf("came back as %+v", got)
	}
}
