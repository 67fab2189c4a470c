package rbac

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestRulesOfRoles(t *testing.T) {
	pods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	paths := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz"}}
	both := pods
	both.NonResourceURLs = []string{"/healthz"}
	for _, c := range []struct {
		name       string
		rule       rbacv1.PolicyRule
		namespaced string
		cluster    string
	}{
		{name: "a rule about resources is for both", rule: pods},
		{name: "a rule about paths belongs to no namespace", rule: paths,
			namespaced: `rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs`},
		{name: "a rule is about resources or about paths", rule: both,
			namespaced: `rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to non-resource URLs; ` +
				`rules[0].nonResourceURLs: Invalid value: ["/healthz"]: rules cannot apply to both regular resources and non-resource URLs`,
			cluster: `rules[0].nonResourceURLs: Invalid value: ["/healthz"]: rules cannot apply to both regular resources and non-resource URLs`},
		{name: "a rule says something", rule: rbacv1.PolicyRule{},
			namespaced: "rules[0].verbs: Required value; rules[0].apiGroups: Required value: resource rules must supply at least one api group; " +
				"rules[0].resources: Required value: resource rules must supply at least one resource",
			cluster: "rules[0].verbs: Required value; rules[0].apiGroups: Required value: resource rules must supply at least one api group; " +
				"rules[0].resources: Required value: resource rules must supply at least one resource"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := []rbacv1.PolicyRule{c.rule}
			if got := texts(Role.Validate(nil, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n"}, Rules: rules})); got != c.namespaced {
				t.Errorf("role:\nhave %s\nwant %s", got, c.namespaced)
			}
			if got := texts(ClusterRole.Validate(nil, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Rules: rules})); got != c.cluster {
				t.Errorf("cluster role:\nhave %s\nwant %s", got, c.cluster)
			}
		})
	}
}

func TestBindings(t *testing.T) {
	role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"}
	for _, c := range []struct {
		name string
		role rbacv1.RoleRef
		who  rbacv1.Subject
		want string
	}{
		{name: "users are of the group", role: role, who: rbacv1.Subject{Kind: "User", Name: "u"},
			want: `subjects[0].apiGroup: Unsupported value: "": supported values: "rbac.authorization.k8s.io"`},
		{name: "service accounts are of no group", role: role, who: rbacv1.Subject{Kind: "ServiceAccount", Name: "sa", APIGroup: rbacv1.GroupName},
			want: `subjects[0].apiGroup: Unsupported value: "rbac.authorization.k8s.io": supported values: ""`},
		{name: "a service account of the binding's namespace needs no namespace", role: role, who: rbacv1.Subject{Kind: "ServiceAccount", Name: "sa"}},
		{name: "pods are nobody", role: role, who: rbacv1.Subject{Kind: "Pod", Name: "p"},
			want: `subjects[0].kind: Unsupported value: "Pod": supported values: "ServiceAccount", "User", "Group"`},
		{name: "what is bound has a name", role: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole"}, who: rbacv1.Subject{Kind: "ServiceAccount", Name: "sa"},
			want: "roleRef.name: Required value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n"}, RoleRef: c.role, Subjects: []rbacv1.Subject{c.who}}
			if got := texts(RoleBinding.Validate(nil, b)); got != c.want {
				t.Errorf("have %s\nwant %s", got, c.want)
			}
		})
	}
	t.Run("the role of a binding never changes", func(t *testing.T) {
		old := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n", ResourceVersion: "1"}, RoleRef: role}
		b := old.DeepCopy()
		b.RoleRef.Name = "writer"
		if got := texts(RoleBinding.ValidateUpdate(nil, b, old)); !strings.HasSuffix(got, "field is immutable") {
			t.Error(got)
		}
	})
}

func texts(errs field.ErrorList) string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return strings.Join(out, "; ")
}
