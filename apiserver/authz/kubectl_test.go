package authz_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/kubectl/pkg/cmd/auth"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// asKubectl makes this test's binary `kubectl auth`, by kubectl's own code: it ends its process to say no.
const asKubectl = "SKIFF_TEST_KUBECTL"

func TestMain(m *testing.M) {
	if os.Getenv(asKubectl) == "" {
		os.Exit(m.Run())
	}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	cmd := auth.NewCmdAuth(cmdutil.NewFactory(flags), streams)
	flags.AddFlags(cmd.PersistentFlags())
	if err := cmd.Execute(); err != nil {
		os.Exit(1)
	}
}

// kubectlAuth runs `kubectl auth ARGS` as a user and returns all that it says.
func kubectlAuth(t *testing.T, c *rest.Config, args ...string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: c.Host, CertificateAuthorityData: c.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: c.CertData, ClientKeyData: c.KeyData}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	dir := t.TempDir()
	path := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], append(args, "--kubeconfig", path, "--cache-dir", filepath.Join(dir, "cache"))...)
	cmd.Env = append(os.Environ(), asKubectl+"=1")
	out, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return string(out)
}

func TestKubectlAuth(t *testing.T) {
	api := apitest.Start(t)
	grant(t, api.Client(), "default", "r", user("ann"), rule("get,list", "", "pods"), rule("update", "", "configmaps", "only"))
	ann := api.As("ann", "dev")
	contains := func(got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%q is missing in\n%s", w, got)
			}
		}
	}
	apitest.Eventually(t, func() error {
		if got := kubectlAuth(t, ann, "can-i", "get", "pods"); got != "yes\n" {
			return apierrors.NewBadRequest(got)
		}
		return nil
	})
	contains(kubectlAuth(t, ann, "can-i", "delete", "pods"), "no")
	contains(kubectlAuth(t, ann, "can-i", "get", "pods", "-n", "kube-system"), "no")
	contains(kubectlAuth(t, ann, "can-i", "--list"), "Resources", "Non-Resource URLs", "pods", "[get list]", "[only]",
		"selfsubjectreviews.authentication.k8s.io", "[/healthz]", "[/version]")
	contains(kubectlAuth(t, ann, "whoami"), "Username", "ann", "[dev system:authenticated]", "Extra: authentication.kubernetes.io/credential-id")

	roles := filepath.Join(t.TempDir(), "roles.yaml")
	if err := os.WriteFile(roles, []byte(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: made, labels: {a: b}}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: made}
subjects: [{kind: User, name: bob, apiGroup: rbac.authorization.k8s.io}]
roleRef: {kind: ClusterRole, name: made, apiGroup: rbac.authorization.k8s.io}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(kubectlAuth(t, api.Config, "reconcile", "-f", roles), "clusterrole.rbac.authorization.k8s.io/made reconciled", "clusterrolebinding.rbac.authorization.k8s.io/made reconciled")
	// Reconciling adds what is missing, and takes nothing away.
	role, err := api.Client().RbacV1().ClusterRoles().Get(ctx, "made", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	role.Rules = []rbacv1.PolicyRule{rule("list", "", "nodes")}
	if _, err := api.Client().RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubectlAuth(t, api.Config, "reconcile", "-f", roles)
	if role, err = api.Client().RbacV1().ClusterRoles().Get(ctx, "made", metav1.GetOptions{}); err != nil || len(role.Rules) != 2 {
		t.Errorf("after reconciling: %v, %v", role, err)
	}
}

func TestAccessReviews(t *testing.T) {
	api := apitest.Start(t)
	grant(t, api.Client(), "default", "r", user("ann"), rule("get", "", "pods"))
	grant(t, api.Client(), "default", "reviewer", user("ann"), rule("create", authorizationv1.GroupName, "localsubjectaccessreviews"))
	ann := api.ClientFor(api.As("ann")).AuthorizationV1()
	pods := func(namespace string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods", Namespace: namespace}
	}
	apitest.Eventually(t, func() error {
		r, err := ann.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("default")}}, create)
		if err == nil && !r.Status.Allowed {
			err = apierrors.NewBadRequest(r.Status.String())
		}
		return err
	})
	if r, err := ann.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("kube-system")}}, create); err != nil || r.Status.Allowed {
		t.Errorf("self, elsewhere: %v, %v", r, err)
	}
	local := func(namespace, about string) (*authorizationv1.LocalSubjectAccessReview, error) {
		return ann.LocalSubjectAccessReviews(namespace).Create(ctx, &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: namespace},
			Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: pods(about)}}, create)
	}
	apitest.Eventually(t, func() error {
		r, err := local("default", "default")
		if err == nil && !r.Status.Allowed {
			err = apierrors.NewBadRequest(r.Status.String())
		}
		return err
	})
	if _, err := local("default", "kube-system"); !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		t.Errorf("a local review about another namespace: %v", err)
	}
	if _, err := local("kube-system", "kube-system"); !apierrors.IsForbidden(err) {
		t.Errorf("a local review elsewhere: %v", err)
	}
	// Reviews are of one thing: a resource or a path.
	if _, err := api.Client().AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann"}}, create); !apierrors.IsInvalid(err) {
		t.Errorf("about nothing: %v", err)
	}
	if _, err := api.Client().AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: pods("x")}}, create); !apierrors.IsInvalid(err) {
		t.Errorf("about nobody: %v", err)
	}
}
