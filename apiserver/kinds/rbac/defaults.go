package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/skiff-project/skiff/apiserver/kinds/internal/fill"
)

func defaultRoleBinding(b *rbacv1.RoleBinding) {
	fill.Empty(&b.RoleRef.APIGroup, rbacv1.GroupName)
	defaultSubjects(b.Subjects)
}

func defaultClusterRoleBinding(b *rbacv1.ClusterRoleBinding) {
	fill.Empty(&b.RoleRef.APIGroup, rbacv1.GroupName)
	defaultSubjects(b.Subjects)
}

func defaultSubjects(subjects []rbacv1.Subject) {
	for i := range subjects {
		if s := &subjects[i]; s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind {
			fill.Empty(&s.APIGroup, rbacv1.GroupName)
		}
	}
}
