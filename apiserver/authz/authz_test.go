package authz_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiff-project/skiff/apiserver/apitest"
	"github.com/skiff-project/skiff/apiserver/storage"
)

var (
	ctx    = context.Background()
	create = metav1.CreateOptions{}
)

func rule(verbs, group, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: []string{group}, Resources: strings.Split(resources, ","), ResourceNames: names}
}

// grant makes a role and binds it to a user: cluster-wide, or in a namespace.
func grant(t *testing.T, c kubernetes.Interface, namespace, name string, subject rbacv1.Subject, rules ...rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
	var err error
	if namespace == "" {
		if _, err = c.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, create); err == nil {
			_, err = c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject},
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}, create)
		}
	} else if _, err = c.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, create); err == nil {
		_, err = c.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{subject},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}, create)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}
}

func review(t *testing.T, c kubernetes.Interface, spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	t.Helper()
	r, err := c.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, create)
	if err != nil {
		t.Fatal(err)
	}
	return r.Status
}

func TestRBAC(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	grant(t, c, "", "reader", user("ann"), rule("get,list", "", "pods,pods/log"), rule("get", "apps", "*"), rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/logs/*"}})
	grant(t, c, "", "scaler", rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "ops"}, rule("*", "*", "*/scale"))
	grant(t, c, "default", "one", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "kube-system", Name: "bot"}, rule("update", "", "configmaps", "only"))
	if _, err := c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dangling"},
		Subjects: []rbacv1.Subject{user("eve")}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "missing"}}, create); err != nil {
		t.Fatal(err)
	}

	const allowed = `RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to User "ann"`
	res := func(verb, group, resource, sub, namespace, name string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: verb, Group: group, Version: "v1", Resource: resource, Subresource: sub, Namespace: namespace, Name: name}
	}
	for _, test := range []struct {
		name   string
		user   string
		groups []string
		res    *authorizationv1.ResourceAttributes
		path   string
		allow  bool
		reason string
	}{
		{name: "a resource", user: "ann", res: res("get", "", "pods", "", "x", ""), allow: true, reason: allowed},
		{name: "another verb", user: "ann", res: res("delete", "", "pods", "", "x", "")},
		{name: "a subresource", user: "ann", res: res("get", "", "pods", "log", "x", "p"), allow: true, reason: allowed},
		{name: "another subresource", user: "ann", res: res("get", "", "pods", "exec", "x", "p")},
		{name: "any resource of a group", user: "ann", res: res("get", "apps", "deployments", "", "", ""), allow: true, reason: allowed},
		{name: "any subresource of the name", user: "zoe", groups: []string{"ops"}, res: res("patch", "apps", "deployments", "scale", "x", "d"), allow: true,
			reason: `RBAC: allowed by ClusterRoleBinding "scaler" of ClusterRole "scaler" to Group "ops"`},
		{name: "the resource itself is not its subresource", user: "zoe", groups: []string{"ops"}, res: res("patch", "apps", "deployments", "", "x", "d")},
		{name: "one object", user: "system:serviceaccount:kube-system:bot", res: res("update", "", "configmaps", "", "default", "only"), allow: true,
			reason: `RBAC: allowed by RoleBinding "one/default" of Role "one" to ServiceAccount "bot/kube-system"`},
		{name: "another object", user: "system:serviceaccount:kube-system:bot", res: res("update", "", "configmaps", "", "default", "other")},
		{name: "another namespace", user: "system:serviceaccount:kube-system:bot", res: res("update", "", "configmaps", "", "kube-system", "only")},
		{name: "a path", user: "ann", path: "/logs/a/b", allow: true, reason: allowed},
		{name: "another path", user: "ann", path: "/logs"},
		{name: "a role that is missing", user: "eve", res: res("get", "", "pods", "", "x", ""), reason: `rbac: RBAC: clusterrole.rbac.authorization.k8s.io "missing" not found`},
		{name: "the master", user: "x", groups: []string{"system:masters"}, res: res("anything", "any", "thing", "", "", ""), allow: true},
		{name: "a node's own name", user: "system:node:n", groups: []string{"system:nodes"}, res: res("get", "", "nodes", "", "", "n"), allow: true},
		{name: "a node about another", user: "system:node:n", groups: []string{"system:nodes"}, res: res("get", "", "nodes", "", "", "m"),
			reason: "node: node 'n' cannot read 'm', only its own Node object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := authorizationv1.SubjectAccessReviewSpec{User: test.user, Groups: test.groups, ResourceAttributes: test.res}
			if test.path != "" {
				spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: test.path, Verb: "get"}
			}
			if got := review(t, c, spec); got.Allowed != test.allow || got.Reason != test.reason {
				t.Errorf("%s", got.String())
			}
		})
	}
}

// Who has been told that a right is granted, or taken away, may rely on it with his next request.
func TestDecisionsGoByWhatWasAcknowledged(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	grant(t, c, "", "reader", user("nobody"), rule("list", "", "configmaps"))
	ann := api.ClientFor(api.As("ann"))
	// What many watch comes to each of them a few milliseconds late, to the authorizer as well.
	for range 200 {
		w, err := c.RbacV1().RoleBindings("").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		go func() {
			for range w.ResultChan() {
			}
		}()
	}
	for i := range 50 {
		if _, err := c.RbacV1().RoleBindings("default").Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "ann"}, Subjects: []rbacv1.Subject{user("ann")},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"}}, create); err != nil {
			t.Fatal(err)
		}
		if _, err := ann.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil {
			t.Fatalf("round %d, a right that is granted: %v", i, err)
		}
		if err := c.RbacV1().RoleBindings("default").Delete(ctx, "ann", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := ann.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Fatalf("round %d, a right that is taken away: %v", i, err)
		}
	}
}

func TestNobodyHandsOutWhatHeDoesNotHold(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	grant(t, c, "", "roles", user("bob"), rule("create,update,get", rbacv1.GroupName, "clusterroles,clusterrolebindings"), rule("get,list", "", "pods"))
	grant(t, c, "", "binder", user("bea"), rule("create", rbacv1.GroupName, "clusterrolebindings"), rule("bind", rbacv1.GroupName, "clusterroles", "view"))
	bob, bea := api.ClientFor(api.As("bob", "dev")).RbacV1(), api.ClientFor(api.As("bea")).RbacV1()
	role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	if _, err := bob.ClusterRoles().Create(ctx, role("held", rule("get", "", "pods")), create); err != nil {
		t.Fatal(err)
	}
	_, err := bob.ClusterRoles().Create(ctx, role("more", rule("get,delete", "", "pods"), rule("get", "", "secrets")), create)
	want := `clusterroles.rbac.authorization.k8s.io "more" is forbidden: user "bob" (groups=["dev" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:
{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}
{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}`
	if err == nil || err.Error() != want {
		t.Errorf("error is %v\nwant %s", err, want)
	}
	aggregate := role("all")
	aggregate.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}}
	if _, err := bob.ClusterRoles().Create(ctx, aggregate, create); err == nil || !strings.Contains(err.Error(), "must have cluster-admin privileges to use the aggregationRule") {
		t.Errorf("aggregation: %v", err)
	}
	bind := func(name, to string) *rbacv1.ClusterRoleBinding {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: []rbacv1.Subject{user("x")},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: to}}
	}
	if _, err := bob.ClusterRoleBindings().Create(ctx, bind("a", "held"), create); err != nil {
		t.Errorf("binding what he holds: %v", err)
	}
	if _, err := bob.ClusterRoleBindings().Create(ctx, bind("b", "cluster-admin"), create); !apierrors.IsForbidden(err) {
		t.Errorf("binding what he does not hold: %v", err)
	}
	if _, err := bea.ClusterRoleBindings().Create(ctx, bind("c", "view"), create); err != nil {
		t.Errorf("binding what she may bind: %v", err)
	}
	if _, err := bea.ClusterRoleBindings().Create(ctx, bind("e", "cluster-admin"), create); !apierrors.IsForbidden(err) {
		t.Errorf("binding beyond the right to bind: %v", err)
	}
}

// One role that cannot be read grants nothing, and takes nothing away from others.
func TestRoleThatCannotBeRead(t *testing.T) {
	api := apitest.Start(t)
	etcd, err := storage.Dial(storage.ExternalConfig{Servers: []string{"unix://" + filepath.Join(api.Dir, "etcd.sock")}})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	if _, err := etcd.Put(ctx, "/registry/clusterroles/broken", "this is no role"); err != nil {
		t.Fatal(err)
	}
	for i, server := range []*apitest.Server{api, api.Second()} {
		name := fmt.Sprintf("user-%d", i)
		grant(t, server.Client(), "", name, user(name), rule("list", "", "configmaps"))
		if _, err := server.ClientFor(server.As(name)).CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("server %d: %v", i+1, err)
		}
	}
}

func TestRulesReview(t *testing.T) {
	api := apitest.Start(t)
	grant(t, api.Client(), "default", "r", user("ann"), rule("get", "", "pods"))
	ann := api.ClientFor(api.As("ann"))
	r, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, create)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status.Incomplete || !slices.ContainsFunc(r.Status.ResourceRules, func(rule authorizationv1.ResourceRule) bool {
		return len(rule.Resources) == 1 && rule.Resources[0] == "pods"
	}) {
		t.Errorf("rules: %s", r.Status.String())
	}
}
