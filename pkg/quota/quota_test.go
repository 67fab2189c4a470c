package quota

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	if change != nil {
		change(p)
	}
	return p
}

func TestPod(t *testing.T) {
	now := time.Unix(1000, 0)
	request := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("500m"), "example.com/gpu": resource.MustParse("2")},
			Limits:   corev1.ResourceList{"cpu": resource.MustParse("1"), "example.com/gpu": resource.MustParse("2")},
		}
	}
	tests := []struct {
		name string
		pod  *corev1.Pod
		want map[corev1.ResourceName]string
	}{
		{name: "a bare pod costs its place", pod: pod(nil), want: map[corev1.ResourceName]string{"pods": "1", "count/pods": "1"}},
		{name: "requests and limits have two names, extended resources one", pod: pod(request), want: map[corev1.ResourceName]string{
			"pods": "1", "count/pods": "1", "cpu": "500m", "requests.cpu": "500m", "limits.cpu": "1", "requests.example.com/gpu": "2",
		}},
		{name: "an ended pod is only counted", pod: pod(func(p *corev1.Pod) { request(p); p.Status.Phase = corev1.PodSucceeded }), want: map[corev1.ResourceName]string{"count/pods": "1"}},
		{name: "a pod that should have ended is only counted", pod: pod(func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(now.Add(-time.Minute))), ptr.To[int64](30)
		}), want: map[corev1.ResourceName]string{"count/pods": "1"}},
		{name: "a pod that is ending costs", pod: pod(func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = ptr.To(metav1.NewTime(now.Add(-time.Second))), ptr.To[int64](30)
		}), want: map[corev1.ResourceName]string{"count/pods": "1", "pods": "1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Pod(tt.pod, now)
			if len(got) != len(tt.want) {
				t.Errorf("usage %v, want %v", got, tt.want)
			}
			for name, want := range tt.want {
				if quantity := got[name]; quantity.Cmp(resource.MustParse(want)) != 0 {
					t.Errorf("%s: %s, want %s", name, quantity.String(), want)
				}
			}
		})
	}
}

func TestInScope(t *testing.T) {
	deadline := pod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) })
	burstable := pod(func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"memory": resource.MustParse("1Mi")}
	})
	high := pod(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" })
	scope := func(name corev1.ResourceQuotaScope, op corev1.ScopeSelectorOperator, values ...string) corev1.ScopedResourceSelectorRequirement {
		return corev1.ScopedResourceSelectorRequirement{ScopeName: name, Operator: op, Values: values}
	}
	tests := []struct {
		name  string
		scope corev1.ScopedResourceSelectorRequirement
		pod   *corev1.Pod
		want  bool
	}{
		{"a deadline makes a pod terminating", scope(corev1.ResourceQuotaScopeTerminating, corev1.ScopeSelectorOpExists), deadline, true},
		{"no deadline", scope(corev1.ResourceQuotaScopeTerminating, corev1.ScopeSelectorOpExists), pod(nil), false},
		{"not terminating", scope(corev1.ResourceQuotaScopeNotTerminating, corev1.ScopeSelectorOpExists), pod(nil), true},
		{"best effort", scope(corev1.ResourceQuotaScopeBestEffort, corev1.ScopeSelectorOpExists), pod(nil), true},
		{"burstable is not best effort", scope(corev1.ResourceQuotaScopeNotBestEffort, corev1.ScopeSelectorOpExists), burstable, true},
		{"priority class in a list", scope(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpIn, "high", "low"), high, true},
		{"priority class not in a list", scope(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpNotIn, "high"), high, false},
		{"no priority class", scope(corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpDoesNotExist), pod(nil), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := InScope(tt.scope, tt.pod); got != tt.want {
				t.Errorf("InScope: %v", got)
			}
		})
	}
}

func TestSourceOf(t *testing.T) {
	for name, want := range map[corev1.ResourceName]Source{
		"pods": Pods, "cpu": Pods, "limits.memory": Pods, "count/pods": Pods, "requests.example.com/gpu": Pods,
		"services": Services, "services.nodeports": Services, "persistentvolumeclaims": Claims, "requests.storage": Claims,
		"fast.storageclass.storage.k8s.io/requests.storage": Claims, "secrets": Counted, "count/deployments.apps": Counted,
	} {
		if got := SourceOf(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
