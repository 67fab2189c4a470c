package queue

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pod(name string, priority int32) *nodes.Pod {
	return nodes.NewPod(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{Priority: &priority}})
}

func popped(q *Queue, now time.Time) string {
	if it := q.Pop(now); it != nil {
		return it.Pod.Key.Name
	}
	return ""
}

func TestHigherPriorityFirstThenOlder(t *testing.T) {
	q := New()
	q.Add(pod("old", 0), false, start)
	q.Add(pod("young", 0), false, start.Add(time.Second))
	q.Add(pod("high", 5), false, start.Add(2*time.Second))
	for _, want := range []string{"high", "old", "young", ""} {
		if got := popped(q, start.Add(3*time.Second)); got != want {
			t.Fatalf("popped %q, want %q", got, want)
		}
	}
}

func TestParkedPodReturnsWhenWokenAndBackoffIsOver(t *testing.T) {
	q := New()
	q.Add(pod("a", 0), false, start)
	q.Park(q.Pop(start), map[string]bool{"NodeResourcesFit": true}, start)
	if got := popped(q, start.Add(time.Minute)); got != "" {
		t.Fatalf("%q came back without being woken", got)
	}
	q.Wake(func(it *Item) bool { return it.Rejected["NodeAffinity"] }, start)
	if _, ok := q.NextAt(); ok {
		t.Fatal("a change that cannot help woke the pod")
	}
	q.Wake(func(it *Item) bool { return it.Rejected["NodeResourcesFit"] }, start.Add(500*time.Millisecond))
	if at, ok := q.NextAt(); !ok || !at.Equal(start.Add(time.Second)) {
		t.Fatalf("back-off ends %v (%v), want a second after the attempt", at, ok)
	}
	if got := popped(q, start.Add(999*time.Millisecond)); got != "" {
		t.Fatalf("%q came back before its back-off ended", got)
	}
	if got := popped(q, start.Add(time.Second)); got != "a" {
		t.Fatalf("popped %q, want a", got)
	}
}

func TestFlushTriesForgottenPods(t *testing.T) {
	q := New()
	q.Add(pod("a", 0), false, start)
	q.Park(q.Pop(start), nil, start)
	q.Flush(start.Add(FlushAfter - time.Second))
	if got := popped(q, start.Add(FlushAfter)); got != "" {
		t.Fatalf("%q flushed too early", got)
	}
	q.Flush(start.Add(FlushAfter))
	if got := popped(q, start.Add(FlushAfter)); got != "a" {
		t.Fatalf("popped %q, want a", got)
	}
}

func TestDeletedPodIsGoneFromEveryState(t *testing.T) {
	for _, put := range []func(q *Queue){
		func(q *Queue) {},
		func(q *Queue) { q.Park(q.Pop(start), nil, start) },
		func(q *Queue) { q.Retry(q.Pop(start).Pod, start) },
		func(q *Queue) { it := q.Pop(start); q.Delete("a"); q.Park(it, nil, start) },
	} {
		q := New()
		q.Add(pod("a", 0), false, start)
		put(q)
		q.Delete("a")
		q.Flush(start.Add(time.Hour))
		if got := popped(q, start.Add(time.Hour)); got != "" {
			t.Fatalf("%q came back from the dead", got)
		}
	}
}

func TestBackoffDoublesToTenSeconds(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 60: 10 * time.Second} {
		if got := Backoff(attempts); got != want {
			t.Errorf("back-off after %d attempts is %v, want %v", attempts, got, want)
		}
	}
}
