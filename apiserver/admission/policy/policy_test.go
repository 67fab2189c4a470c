package policy_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/apiserver"
	"github.com/skiff-project/skiff/apiserver/apitest"
)

func on(group, resource string) *admissionv1.MatchResources {
	return &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}}}}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "busybox:1"}},
		}},
	}}
}

// warnings collects what the server warns of.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// apply creates a policy with one binding for the time of a subtest.
func apply(t *testing.T, c kubernetes.Interface, spec admissionv1.ValidatingAdmissionPolicySpec, binding admissionv1.ValidatingAdmissionPolicyBindingSpec) {
	t.Helper()
	policies, bindings := c.AdmissionregistrationV1().ValidatingAdmissionPolicies(), c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	meta := metav1.ObjectMeta{Name: "rule"}
	if _, err := policies.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding.PolicyName = "rule"
	if binding.ValidationActions == nil {
		binding.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
	}
	if _, err := bindings.Create(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta, Spec: binding}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bindings.Delete(context.Background(), "rule", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := policies.Delete(context.Background(), "rule", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func TestValidating(t *testing.T) {
	api := apitest.Start(t)
	warned := &warnings{}
	config := rest.CopyConfig(api.Config)
	config.WarningHandler = warned
	c := kubernetes.NewForConfigOrDie(config)
	deployments := c.AppsV1().Deployments("default")
	ctx := t.Context()
	create := func(name string, replicas int32) error {
		_, err := deployments.Create(ctx, deployment(name, replicas), metav1.CreateOptions{DryRun: []string{"All"}})
		return err
	}
	refused := func(t *testing.T, err error, code int32, want string) {
		t.Helper()
		status, ok := err.(apierrors.APIStatus)
		if !ok || status.Status().Code != code || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %d %s", err, code, want)
		}
	}

	t.Run("a rule with variables and a message that is computed", func(t *testing.T) {
		apply(t, c, admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: on("apps", "deployments"),
			Variables:        []admissionv1.Variable{{Name: "replicas", Expression: "object.spec.replicas"}, {Name: "odd", Expression: "variables.replicas % 2 == 1"}},
			Validations: []admissionv1.Validation{
				{Expression: "variables.replicas > 1", MessageExpression: "'wants ' + string(variables.replicas)"},
				{Expression: "!variables.odd", Message: "even numbers only", Reason: ptr.To(metav1.StatusReasonForbidden)},
			},
		}, admissionv1.ValidatingAdmissionPolicyBindingSpec{})
		refused(t, create("one", 1), http.StatusUnprocessableEntity,
			`deployments.apps "one" is forbidden: ValidatingAdmissionPolicy 'rule' with binding 'rule' denied request: wants 1`)
		refused(t, create("three", 3), http.StatusForbidden, "even numbers only")
		if err := create("two", 2); err != nil {
			t.Error(err)
		}
	})

	t.Run("parameters, and what happens without them", func(t *testing.T) {
		apply(t, c, admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: on("apps", "deployments"), ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
			Validations: []admissionv1.Validation{{Expression: "object.spec.replicas <= int(params.data.max)"}},
		}, admissionv1.ValidatingAdmissionPolicyBindingSpec{
			ParamRef: &admissionv1.ParamRef{Name: "limits", Namespace: "default", ParameterNotFoundAction: ptr.To(admissionv1.DenyAction)},
		})
		refused(t, create("five", 5), http.StatusUnprocessableEntity, "no params found for policy binding with `Deny` parameterNotFoundAction")
		limits := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "limits"}, Data: map[string]string{"max": "4"}}
		if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, limits, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		refused(t, create("five", 5), http.StatusUnprocessableEntity, "failed expression: object.spec.replicas <= int(params.data.max)")
		if err := create("four", 4); err != nil {
			t.Error(err)
		}
	})

	t.Run("warnings instead of refusals", func(t *testing.T) {
		apply(t, c, admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: on("apps", "deployments"), Validations: []admissionv1.Validation{{Expression: "false", Message: "think again"}},
		}, admissionv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: []admissionv1.ValidationAction{admissionv1.Warn}})
		if err := create("warned", 1); err != nil {
			t.Error(err)
		}
		if !slices.Contains(warned.texts, "Validation failed for ValidatingAdmissionPolicy 'rule' with binding 'rule': think again") {
			t.Errorf("warnings %q", warned.texts)
		}
	})

	t.Run("errors, by the failure policy", func(t *testing.T) {
		broken := admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: on("apps", "deployments"), Validations: []admissionv1.Validation{{Expression: "object.spec.nothing == 1"}},
		}
		t.Run("Fail", func(t *testing.T) {
			apply(t, c, broken, admissionv1.ValidatingAdmissionPolicyBindingSpec{})
			refused(t, create("d", 1), http.StatusUnprocessableEntity, "expression 'object.spec.nothing == 1' resulted in error: no such key: nothing")
		})
		t.Run("Ignore", func(t *testing.T) {
			broken.FailurePolicy = ptr.To(admissionv1.Ignore)
			apply(t, c, broken, admissionv1.ValidatingAdmissionPolicyBindingSpec{})
			if err := create("d", 1); err != nil {
				t.Error(err)
			}
		})
	})

	t.Run("conditions, selectors and rights", func(t *testing.T) {
		apply(t, c, admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: on("apps", "deployments"),
			MatchConditions: []admissionv1.MatchCondition{{Name: "others", Expression: "request.userInfo.username != 'root' && !object.metadata.name.startsWith('free')"},
				{Name: "rights", Expression: "authorizer.group('apps').resource('deployments').namespace('default').check('delete').allowed()"}},
			Validations: []admissionv1.Validation{{Expression: "namespaceObject.metadata.name != 'default'"}},
		}, admissionv1.ValidatingAdmissionPolicyBindingSpec{MatchResources: &admissionv1.MatchResources{
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "skip", Operator: metav1.LabelSelectorOpDoesNotExist}}},
		}})
		refused(t, create("bound", 1), http.StatusUnprocessableEntity, "failed expression")
		if err := create("free-1", 1); err != nil {
			t.Error(err)
		}
		skipped := deployment("skipped", 1)
		skipped.Labels = map[string]string{"skip": ""}
		if _, err := deployments.Create(ctx, skipped, metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
			t.Error(err)
		}
	})
}

func TestAudit(t *testing.T) {
	dir := t.TempDir()
	rules, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(rules, []byte("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := apitest.Start(t, apitest.With(func(c *apiserver.Config) { c.AuditPolicy, c.AuditLog = rules, log }))
	c := api.Client()
	apply(t, c, admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: on("apps", "deployments"), Validations: []admissionv1.Validation{{Expression: "false", Message: "think again"}},
		AuditAnnotations: []admissionv1.AuditAnnotation{{Key: "size", ValueExpression: "string(object.spec.replicas)"}},
	}, admissionv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: []admissionv1.ValidationAction{admissionv1.Audit}})
	if _, err := c.AppsV1().Deployments("default").Create(t.Context(), deployment("noted", 7), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var err error
		if text, err = os.ReadFile(log); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"rule/size":"7"`) && strings.Contains(string(text), "validation.policy.admission.k8s.io/validation_failure") &&
			strings.Contains(string(text), "think again") {
			return
		}
	}
	t.Errorf("the audit log says nothing of the policy: %d bytes", len(text))
}

func TestMutating(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	ctx := t.Context()
	mutate := func(name string, mutations ...admissionv1.Mutation) {
		t.Helper()
		policy := &admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.MutatingAdmissionPolicySpec{
			MatchConstraints: on("apps", "deployments"), Mutations: mutations, ReinvocationPolicy: admissionv1.IfNeededReinvocationPolicy,
			MatchConditions: []admissionv1.MatchCondition{{Name: "name", Expression: "object.metadata.name.startsWith('" + name + "')"}},
		}}
		if _, err := c.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(ctx, policy, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		binding := &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name}}
		if _, err := c.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	configuration := func(text string) admissionv1.Mutation {
		return admissionv1.Mutation{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: text}}
	}
	patch := func(text string) admissionv1.Mutation {
		return admissionv1.Mutation{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: text}}
	}
	mutate("merged", configuration(`Object{metadata: Object.metadata{annotations: {"by": "policy"}}, spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
		containers: [Object.spec.template.spec.containers{name: "extra", image: "busybox:2"}]}}}}`))
	mutate("patched", patch(`[JSONPatch{op: "test", path: "/spec/replicas", value: 1}, JSONPatch{op: "replace", path: "/spec/replicas", value: object.spec.replicas + 2}]`),
		patch(`[JSONPatch{op: "add", path: "/metadata/labels", value: {"replicas": string(object.spec.replicas)}}]`))
	mutate("atomic", configuration(`Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {"a": "b"}}}}`))

	made, err := c.AppsV1().Deployments("default").Create(ctx, deployment("merged", 2), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	containers := made.Spec.Template.Spec.Containers
	if made.Annotations["by"] != "policy" || len(containers) != 2 || containers[0].Name != "c" || containers[1].Image != "busybox:2" ||
		containers[1].TerminationMessagePath == "" || *made.Spec.Replicas != 2 {
		t.Errorf("%v %+v", made.Annotations, containers)
	}
	made, err = c.AppsV1().Deployments("default").Create(ctx, deployment("patched", 1), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *made.Spec.Replicas != 3 || made.Labels["replicas"] != "3" {
		t.Errorf("%d replicas, labels %v", *made.Spec.Replicas, made.Labels)
	}
	_, err = c.AppsV1().Deployments("default").Create(ctx, deployment("atomic", 1), metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "policy 'atomic' with binding 'atomic' denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector") {
		t.Errorf("%v", err)
	}
}
