package bootstrap

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

func TestEmbeddedObjects(t *testing.T) {
	for file, want := range map[string]int{"roles.yaml": 80, "bindings.yaml": 61, "flowcontrol.yaml": 19, "classes.yaml": 2} {
		objects, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(objects) != want {
			t.Errorf("%s holds %d objects, want %d", file, len(objects), want)
		}
		for _, o := range objects {
			if _, ok := resources[o.GetObjectKind().GroupVersionKind().Kind]; !ok {
				t.Errorf("%s: %s %s has no resource", file, o.GetObjectKind().GroupVersionKind(), o.GetName())
			}
		}
	}
	if rules, err := NodeRules(); err != nil || len(rules) < 10 {
		t.Errorf("node rules: %v, %v", rules, err)
	}
}

func TestMerge(t *testing.T) {
	rule := func(verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: verbs}
	}
	role := func(keep string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		r := &rbacv1.ClusterRole{Rules: rules}
		if keep != "" {
			r.Annotations = map[string]string{rbacv1.AutoUpdateAnnotationKey: keep}
		}
		return r
	}
	for _, c := range []struct {
		name       string
		have, want *rbacv1.ClusterRole
		changed    bool
		rules      int
	}{
		{"what is missing is added", role("true", rule("get")), role("true", rule("get"), rule("list")), true, 2},
		{"what was added by others stays", role("true", rule("get"), rule("delete")), role("true", rule("get")), false, 2},
		{"a kept role is left alone", role("false", rule("get")), role("true", rule("get"), rule("list")), false, 1},
		{"the mark is put back", role("", rule("get")), role("true", rule("get")), true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := merge(c.have, c.want); got != c.changed || len(c.have.Rules) != c.rules {
				t.Errorf("changed %v, %d rules", got, len(c.have.Rules))
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		for _, f := range []string{"roles.yaml", "bindings.yaml", "flowcontrol.yaml", "classes.yaml"} {
			if _, err := read(f); err != nil {
				b.Fatal(err)
			}
		}
	}
}
