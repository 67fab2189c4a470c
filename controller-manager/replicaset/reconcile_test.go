package replicaset

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Unix(10_000, 0)

func pods(n int, ready int) []*corev1.Pod {
	var all []*corev1.Pod
	for i := range n {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), UID: types.UID(fmt.Sprint(i)), Labels: map[string]string{"app": "web"}}, Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		if i < ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-10 * time.Second))}}
		}
		all = append(all, p)
	}
	return all
}

func set(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}}}
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name           string
		want           int32
		owned          []*corev1.Pod
		create, remove int
	}{
		{name: "as many as asked for", want: 3, owned: pods(3, 3)},
		{name: "too few", want: 5, owned: pods(3, 3), create: 2},
		{name: "far too few: a burst at a time", want: 2000, create: burst},
		{name: "too many", want: 1, owned: pods(3, 3), remove: 2},
		{name: "none wanted", want: 0, owned: pods(3, 3), remove: 3},
		{name: "far too many: a burst at a time", want: 0, owned: pods(700, 0), remove: burst},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			create, remove := plan(set(tt.want), tt.owned, func(string) int { return 0 }, now)
			if create != tt.create || len(remove) != tt.remove {
				t.Errorf("create %d, remove %d; want %d, %d", create, len(remove), tt.create, tt.remove)
			}
		})
	}
	_, remove := plan(set(2), pods(3, 2), func(string) int { return 0 }, now)
	if len(remove) != 1 || remove[0].Name != "2" {
		t.Errorf("removed %v instead of the one that is not ready", remove)
	}
}

func TestStatus(t *testing.T) {
	s := set(3)
	s.Spec.MinReadySeconds = 30
	got, recheck := status(s, pods(3, 2), pods(1, 0), nil, now)
	if got.Replicas != 3 || got.ReadyReplicas != 2 || got.AvailableReplicas != 0 || got.FullyLabeledReplicas != 3 || *got.TerminatingReplicas != 1 || recheck != 20*time.Second {
		t.Errorf("status %+v, recheck %s", got, recheck)
	}
	got, _ = status(s, pods(1, 1), nil, errors.New("quota"), now)
	if len(got.Conditions) != 1 || got.Conditions[0].Reason != "FailedCreate" || got.Conditions[0].Message != "quota" {
		t.Errorf("conditions %+v", got.Conditions)
	}
	s.Status = got
	if got, _ = status(s, pods(3, 3), nil, nil, now); len(got.Conditions) != 0 {
		t.Errorf("the failure is over: %+v", got.Conditions)
	}
}
