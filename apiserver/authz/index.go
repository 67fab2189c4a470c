package authz

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/follow"
	"github.com/skiff-project/skiff/apiserver/kinds"
)

// index holds roles and bindings. What it hands out is shared with the cache and never changed.
type index struct {
	mu sync.RWMutex
	// roles by namespace ("" for cluster roles) and name.
	roles map[objectKey][]rbacv1.PolicyRule
	// bindings by namespace ("" for cluster role bindings) and subject, sorted by name: a decision always gives the same
	// reason.
	bindings map[subjectKey][]*binding
	// known is what a binding was indexed under, to take it out again.
	known map[objectKey]*binding
}

type objectKey struct{ namespace, name string }

// subjectKey is one subject in one namespace. subject is a letter for the kind and the name: users and service accounts
// are both matched by user name.
type subjectKey struct{ namespace, subject string }

func userKey(name string) string  { return "u" + name }
func groupKey(name string) string { return "g" + name }

type binding struct {
	objectKey
	roleRef  rbacv1.RoleRef
	subjects []rbacv1.Subject
}

func newIndex() *index {
	return &index{roles: map[objectKey][]rbacv1.PolicyRule{}, bindings: map[subjectKey][]*binding{}, known: map[objectKey]*binding{}}
}

// followers keep the index up to date: one for each of RBAC's kinds.
func (x *index) followers() map[string]follow.Follower {
	return map[string]follow.Follower{
		"clusterroles": x.follower(true, x.setRole), "roles": x.follower(false, x.setRole),
		"clusterrolebindings": x.follower(true, x.setBinding), "rolebindings": x.follower(false, x.setBinding),
	}
}

func (x *index) follower(cluster bool, set func(obj runtime.Object, deleted bool)) follow.Follower {
	present := map[objectKey]runtime.Object{} // only to find out, after lost events, what is gone
	apply := func(obj runtime.Object, deleted bool) {
		m := obj.(kinds.Object)
		key := objectKey{m.GetNamespace(), m.GetName()}
		if deleted {
			delete(present, key)
		} else {
			present[key] = obj
		}
		set(obj, deleted)
	}
	return follow.Follower{
		Apply: func(obj runtime.Object, deleted bool) { x.mu.Lock(); defer x.mu.Unlock(); apply(obj, deleted) },
		Replace: func(all []runtime.Object) {
			x.mu.Lock()
			defer x.mu.Unlock()
			gone := present
			present = map[objectKey]runtime.Object{}
			for _, obj := range all {
				m := obj.(kinds.Object)
				delete(gone, objectKey{m.GetNamespace(), m.GetName()})
				apply(obj, false)
			}
			for _, obj := range gone {
				set(obj, true)
			}
		},
	}
}

func (x *index) setRole(obj runtime.Object, deleted bool) {
	m := obj.(kinds.Object)
	key := objectKey{m.GetNamespace(), m.GetName()}
	if deleted {
		delete(x.roles, key)
		return
	}
	switch r := obj.(type) {
	case *rbacv1.ClusterRole:
		x.roles[key] = r.Rules
	case *rbacv1.Role:
		x.roles[key] = r.Rules
	}
}

func (x *index) setBinding(obj runtime.Object, deleted bool) {
	m := obj.(kinds.Object)
	key := objectKey{m.GetNamespace(), m.GetName()}
	if old := x.known[key]; old != nil {
		for _, s := range old.keys() {
			x.bindings[s] = slices.DeleteFunc(x.bindings[s], func(b *binding) bool { return b == old })
			if len(x.bindings[s]) == 0 {
				delete(x.bindings, s)
			}
		}
		delete(x.known, key)
	}
	if deleted {
		return
	}
	b := &binding{objectKey: key}
	switch r := obj.(type) {
	case *rbacv1.ClusterRoleBinding:
		b.roleRef, b.subjects = r.RoleRef, r.Subjects
	case *rbacv1.RoleBinding:
		b.roleRef, b.subjects = r.RoleRef, r.Subjects
	}
	x.known[key] = b
	for _, s := range b.keys() {
		list := x.bindings[s]
		at, _ := slices.BinarySearchFunc(list, b.name, func(o *binding, name string) int { return strings.Compare(o.name, name) })
		x.bindings[s] = slices.Insert(list, at, b)
	}
}

// keys are what the binding is found by, each once.
func (b *binding) keys() []subjectKey {
	var out []subjectKey
	for i := range b.subjects {
		if key := (subjectKey{b.namespace, subject(&b.subjects[i], b.namespace)}); key.subject != "" && !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

func subject(s *rbacv1.Subject, namespace string) string {
	switch s.Kind {
	case rbacv1.UserKind:
		return userKey(s.Name)
	case rbacv1.GroupKind:
		return groupKey(s.Name)
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		if namespace != "" {
			return userKey("system:serviceaccount:" + namespace + ":" + s.Name)
		}
	}
	return ""
}

// visit calls f with the rules of everything that the user is bound to: cluster-wide, then in the namespace. It ends
// when f answers false. err stands in for the rules of a role that does not exist.
func (x *index) visit(user *kinds.UserInfo, namespace string, f func(b *binding, subject string, rules []rbacv1.PolicyRule, err error) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !x.visitIn(user, "", f) || namespace == "" {
		return
	}
	x.visitIn(user, namespace, f)
}

func (x *index) visitIn(user *kinds.UserInfo, namespace string, f func(*binding, string, []rbacv1.PolicyRule, error) bool) bool {
	each := func(subject string) bool {
		for _, b := range x.bindings[subjectKey{namespace, subject}] {
			rules, err := x.rules(b.roleRef, namespace)
			if !f(b, subject, rules, err) {
				return false
			}
		}
		return true
	}
	if !each(userKey(user.Name)) {
		return false
	}
	for _, g := range user.Groups {
		if !each(groupKey(g)) {
			return false
		}
	}
	return true
}

// rules are those of the role that a binding in a namespace refers to. The caller holds mu.
func (x *index) rules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	key, resource := objectKey{"", ref.Name}, "clusterroles"
	switch ref.Kind {
	case "ClusterRole":
	case "Role":
		key.namespace, resource = namespace, "roles"
	default:
		return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
	}
	rules, ok := x.roles[key]
	if !ok {
		// Upstream's lister names the kind in the singular here.
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: strings.TrimSuffix(resource, "s")}, ref.Name)
	}
	return rules, nil
}

// describe names what allowed something, for audit log and SubjectAccessReview.
func (b *binding) describe(key string) string {
	kind, name := "ClusterRoleBinding", b.name
	if b.namespace != "" {
		kind, name = "RoleBinding", b.name+"/"+b.namespace
	}
	to := ""
	for i := range b.subjects {
		s := &b.subjects[i]
		if subject(s, b.namespace) != key {
			continue
		}
		who := s.Name
		if s.Kind == rbacv1.ServiceAccountKind {
			ns := s.Namespace
			if ns == "" {
				ns = b.namespace
			}
			who += "/" + ns
		}
		to = fmt.Sprintf("%s %q", s.Kind, who)
		break
	}
	return fmt.Sprintf("%s %q of %s %q to %s", kind, name, b.roleRef.Kind, b.roleRef.Name, to)
}
