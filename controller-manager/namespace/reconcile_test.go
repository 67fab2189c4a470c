package namespace

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestConditions(t *testing.T) {
	now := time.Unix(1000, 0)
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	tests := []struct {
		name  string
		found findings
		want  map[corev1.NamespaceConditionType]string // messages of those that are true
	}{
		{name: "all well", found: findings{counted: true}},
		{name: "things remain", found: findings{counted: true, remaining: map[schema.GroupVersionResource]int{pods: 2}, finalizers: map[string]int{"b": 1, "a": 2}}, want: map[corev1.NamespaceConditionType]string{
			corev1.NamespaceContentRemaining:    "Some resources are remaining: pods. has 2 resource instances",
			corev1.NamespaceFinalizersRemaining: "Some content in the namespace has finalizers remaining: a in 2 resource instances, b in 1 resource instances",
		}},
		{name: "stopped at the pods: nothing is said of the rest", found: findings{remaining: map[schema.GroupVersionResource]int{pods: 2}}},
		{name: "discovery failed", found: findings{counted: true, discovery: errors.New("no")}, want: map[corev1.NamespaceConditionType]string{corev1.NamespaceDeletionDiscoveryFailure: "no"}},
		{name: "deletions failed", found: findings{counted: true, failures: []string{"y", "x"}}, want: map[corev1.NamespaceConditionType]string{
			corev1.NamespaceDeletionContentFailure: "Failed to delete all resource types, 2 remaining: x, y",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := tt.found.conditions(now)
			if len(all) != 5 {
				t.Errorf("%d conditions", len(all))
			}
			for _, c := range all {
				if want, bad := tt.want[c.Type]; bad != (c.Status == corev1.ConditionTrue) || (bad && c.Message != want) {
					t.Errorf("%s %s %q, want %q", c.Type, c.Status, c.Message, want)
				}
			}
			var status corev1.NamespaceStatus
			if !setConditions(&status, all) || setConditions(&status, tt.found.conditions(now.Add(time.Hour))) {
				t.Error("the same again is no change")
			}
		})
	}
}
