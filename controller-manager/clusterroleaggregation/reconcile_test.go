package clusterroleaggregation

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSum(t *testing.T) {
	role := func(name, label string, verbs ...string) *rbacv1.ClusterRole {
		r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: "true"}}}
		for _, v := range verbs {
			r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{v}})
		}
		return r
	}
	whole := role("whole", "part", "old")
	whole.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"part": "true"}}}}
	got, err := sum(whole, []*rbacv1.ClusterRole{whole, role("b", "part", "list", "get"), role("a", "part", "get"), role("c", "other", "delete")})
	if err != nil || len(got) != 2 || got[0].Verbs[0] != "get" || got[1].Verbs[0] != "list" {
		t.Errorf("rules %+v, %v", got, err)
	}
}
