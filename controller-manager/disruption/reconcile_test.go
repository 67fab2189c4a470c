package disruption

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func pod(name string, ready, dying bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	if dying {
		p.DeletionTimestamp = ptr.To(metav1.Now())
	}
	return p
}

func TestEvictedPodsCountAsGone(t *testing.T) {
	now := time.Unix(10_000, 0)
	b := &policyv1.PodDisruptionBudget{Status: policyv1.PodDisruptionBudgetStatus{DisruptedPods: map[string]metav1.Time{
		"evicted": metav1.NewTime(now.Add(-time.Minute)), "survivor": metav1.NewTime(now.Add(-time.Hour)), "dying": metav1.NewTime(now), "gone": metav1.NewTime(now),
	}}}
	pods := []*corev1.Pod{pod("evicted", true, false), pod("survivor", true, false), pod("dying", true, true), pod("fine", true, false), pod("sick", false, false)}
	evicted, again := stillEvicted(b, pods, now)
	if len(evicted) != 1 || again != time.Minute {
		t.Errorf("evicted %v, again in %s", evicted, again)
	}
	if n := healthy(pods, evicted); n != 2 {
		t.Errorf("%d healthy, want survivor and fine", n)
	}
}

func TestMarked(t *testing.T) {
	mark := func(p *corev1.Pod, reason string) *corev1.Pod {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason})
		return p
	}
	if !marked(mark(pod("a", true, false), "EvictionByEvictionAPI")) {
		t.Error("an eviction that has not come")
	}
	if marked(mark(pod("a", true, true), "EvictionByEvictionAPI")) || marked(pod("a", true, false)) || marked(mark(pod("a", true, false), corev1.PodReasonTerminationByKubelet)) {
		t.Error("one that has, none, or the node's own")
	}
}
