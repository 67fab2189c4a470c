package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// Role is a set of permissions in a namespace.
var Role = kinds.Define(kinds.Row[*rbacv1.Role]{
	Resource: "roles", Scope: kinds.Namespaced, Name: kinds.PathSegment, Revalidate: true, AllowCreateOnUpdate: true,
	Validate: validateRole,
	Columns:  kinds.PlainColumns[*rbacv1.Role](),
})

// ClusterRole is a set of permissions everywhere.
var ClusterRole = kinds.Define(kinds.Row[*rbacv1.ClusterRole]{
	Resource: "clusterroles", Name: kinds.PathSegment, AllowCreateOnUpdate: true,
	Validate: validateNewClusterRole, ValidateUpdate: validateClusterRoleUpdate,
	Columns: kinds.PlainColumns[*rbacv1.ClusterRole](),
})
