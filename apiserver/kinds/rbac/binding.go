package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// RoleBinding gives a Role or ClusterRole to subjects in a namespace.
var RoleBinding = kinds.Define(kinds.Row[*rbacv1.RoleBinding]{
	Resource: "rolebindings", Scope: kinds.Namespaced, Name: kinds.PathSegment, Revalidate: true, AllowCreateOnUpdate: true,
	Default: defaultRoleBinding, Validate: validateRoleBinding, ValidateUpdate: validateRoleBindingUpdate,
	Columns: bindingColumns("roleBinding", kinds.Doc(rbacv1.RoleBinding{}, "roleRef"),
		func(b *rbacv1.RoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.RoleBinding) []rbacv1.Subject { return b.Subjects }),
})

// ClusterRoleBinding gives a ClusterRole to subjects everywhere.
var ClusterRoleBinding = kinds.Define(kinds.Row[*rbacv1.ClusterRoleBinding]{
	Resource: "clusterrolebindings", Name: kinds.PathSegment, Revalidate: true, AllowCreateOnUpdate: true,
	Default: defaultClusterRoleBinding, Validate: validateClusterRoleBinding, ValidateUpdate: validateClusterRoleBindingUpdate,
	Columns: bindingColumns("clusterRoleBinding", kinds.Doc(rbacv1.ClusterRoleBinding{}, "roleRef"),
		func(b *rbacv1.ClusterRoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.ClusterRoleBinding) []rbacv1.Subject { return b.Subjects }),
})

func bindingColumns[T kinds.Object](noun, roleDoc string, role func(T) rbacv1.RoleRef, subjects func(T) []rbacv1.Subject) []kinds.Column[T] {
	// The table's text is of the time before the reference was said to be immutable.
	roleDoc = strings.TrimSuffix(roleDoc, " This field is immutable.")
	of := func(name, kind string) kinds.Column[T] {
		return kinds.Column[T]{Name: name, Priority: 1, Description: name + " in the " + noun, Cell: func(o T) any {
			var names []string
			for _, s := range subjects(o) {
				switch {
				case s.Kind != kind:
				case kind == rbacv1.ServiceAccountKind:
					names = append(names, s.Namespace+"/"+s.Name)
				default:
					names = append(names, s.Name)
				}
			}
			return strings.Join(names, ", ")
		}}
	}
	return []kinds.Column[T]{
		kinds.NameColumn[T](),
		{Name: "Role", Description: roleDoc, Cell: func(o T) any { return role(o).Kind + "/" + role(o).Name }},
		kinds.AgeColumn[T](),
		of("Users", rbacv1.UserKind), of("Groups", rbacv1.GroupKind), of("ServiceAccounts", rbacv1.ServiceAccountKind),
	}
}
