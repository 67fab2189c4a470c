package endpoints

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(i int, ready bool, port int32) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i), UID: types.UID(fmt.Sprint(i))}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: port, Protocol: corev1.ProtocolTCP}}}}}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.0.%d.%d", i/250, i%250)}}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func service() *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("web")}}}}
}

func TestPlan(t *testing.T) {
	got := plan(service(), []*corev1.Pod{pod(1, true, 8080), pod(2, false, 8080), pod(3, true, 9090)}, nil)
	if len(got.Subsets) != 2 || len(got.Subsets[0].Addresses) != 1 || len(got.Subsets[0].NotReadyAddresses) != 1 || got.Subsets[0].Ports[0].Port != 8080 || len(got.Subsets[1].Addresses) != 1 {
		t.Errorf("subsets %+v", got.Subsets)
	}
	if got.Labels[managedBy] != name {
		t.Errorf("labels %v", got.Labels)
	}
	if again := plan(service(), []*corev1.Pod{pod(3, true, 9090), pod(2, false, 8080), pod(1, true, 8080)}, got); !same(got, again) {
		t.Error("the order of pods makes a difference")
	}
	if other := plan(service(), []*corev1.Pod{pod(1, true, 8080), pod(2, true, 8080), pod(3, true, 9090)}, got); same(got, other) {
		t.Error("readiness makes no difference")
	}
}

func TestTooManyAreCutReadyFirst(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 1200 {
		pods = append(pods, pod(i, i%3 != 0, 8080))
	}
	got := plan(service(), pods, nil)
	if got.Annotations[corev1.EndpointsOverCapacity] != truncated || len(got.Subsets[0].Addresses) != 800 || len(got.Subsets[0].NotReadyAddresses) != 200 {
		t.Errorf("%d ready and %d others, annotations %v", len(got.Subsets[0].Addresses), len(got.Subsets[0].NotReadyAddresses), got.Annotations)
	}
}

func TestHeadlessWithoutPorts(t *testing.T) {
	s := service()
	s.Spec.ClusterIP, s.Spec.Ports = corev1.ClusterIPNone, nil
	got := plan(s, []*corev1.Pod{pod(1, true, 8080)}, nil)
	if len(got.Subsets) != 1 || len(got.Subsets[0].Addresses) != 1 || len(got.Subsets[0].Ports) != 0 {
		t.Errorf("subsets %+v", got.Subsets)
	}
	if _, ok := got.Labels[corev1.IsHeadlessService]; !ok {
		t.Error("not marked as headless")
	}
}
