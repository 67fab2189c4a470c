package status

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestCanWait(t *testing.T) {
	at := func(phase corev1.PodPhase, ready corev1.ConditionStatus, containers ...corev1.ContainerStatus) corev1.PodStatus {
		return corev1.PodStatus{Phase: phase, ContainerStatuses: containers, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}
	}
	waiting := func(reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}
	}
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	again := running
	again.RestartCount = 1
	for _, c := range []struct {
		name   string
		known  corev1.PodPhase
		status corev1.PodStatus
		want   time.Duration
	}{
		{"a pod that is prepared", corev1.PodPending, at(corev1.PodPending, corev1.ConditionFalse, waiting(waitingDefault)), preparing},
		{"an image that cannot be pulled", corev1.PodPending, at(corev1.PodPending, corev1.ConditionFalse, waiting("ErrImagePull")), 0},
		{"one of two containers runs", corev1.PodPending, at(corev1.PodPending, corev1.ConditionFalse, running, waiting(waitingDefault)), 0},
		{"a pod that runs and is not ready yet", corev1.PodPending, at(corev1.PodRunning, corev1.ConditionFalse, running), probing},
		{"a pod that is ready", corev1.PodPending, at(corev1.PodRunning, corev1.ConditionTrue, running), 0},
		{"a container that was restarted", corev1.PodPending, at(corev1.PodRunning, corev1.ConditionFalse, again), 0},
		{"a pod that is not ready any more", corev1.PodRunning, at(corev1.PodRunning, corev1.ConditionFalse, running), 0},
		{"a pod that has ended", corev1.PodPending, at(corev1.PodSucceeded, corev1.ConditionFalse), 0},
	} {
		if got := canWait(&corev1.PodStatus{Phase: c.known}, &c.status); got != c.want {
			t.Errorf("%s waits %s, want %s", c.name, got, c.want)
		}
	}
}

// What a pod wishes while others' statuses are on their way goes with one write, and the newest wish is the one that arrives.
func TestWishesThatWaitGoTogether(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), ResourceVersion: "1"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	}
	slow, other := pod("slow"), pod("other")
	client := fake.NewClientset(slow, other)
	release := make(chan struct{})
	var mu sync.Mutex
	writes := map[string]int{}
	client.PrependReactor("patch", "pods", func(a clienttesting.Action) (bool, kruntime.Object, error) {
		name := a.(clienttesting.PatchAction).GetName()
		if name == "slow" {
			<-release
		}
		mu.Lock()
		defer mu.Unlock()
		writes[name]++
		return false, nil, nil
	})
	w := NewWriter(ctx, client, slog.New(slog.DiscardHandler))
	w.parallel = make(chan struct{}, 1)
	w.Set(slow, corev1.PodStatus{Phase: corev1.PodRunning, Message: "first"})
	for len(w.parallel) == 0 { // its write is on the way
		time.Sleep(time.Millisecond)
	}
	for _, message := range []string{"a", "b", "c"} {
		w.Set(other, corev1.PodStatus{Phase: corev1.PodRunning, Message: message})
	}
	close(release)
	deadline := time.Now().Add(10 * time.Second)
	for {
		got, err := client.CoreV1().Pods("ns").Get(ctx, "other", metav1.GetOptions{})
		if err == nil && got.Status.Message == "c" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %+v, %v", got.Status, err)
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	w.Wait()
	if writes["other"] != 1 || writes["slow"] != 1 {
		t.Errorf("writes: %v, want one each", writes)
	}
}
