package expression_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/apiserver/expression"
)

const plenty = 10_000_000

func deployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](3)},
	}
}

func TestCompile(t *testing.T) {
	for text, want := range map[string]string{
		"object.spec.replicas < 5": "",
		"object.spec.replicas":     "must evaluate to bool but got dyn",
		"'a'":                      "must evaluate to bool but got string",
		"object.spec.replicas <":   "compilation failed",
		"nothing":                  "undeclared reference to 'nothing'",
		"params.a == 1":            "undeclared reference to 'params'",
		"authorizer.group('').resource('pods').check('get').allowed()": "undeclared reference to 'authorizer'",
		"request.userInfo.username == 'x' && request.colour":           "undefined field 'colour'",
		"namespaceObject.metadata.labels['a'] == 'b'":                  "",
		"quantity('1Gi').isGreaterThan(quantity('1Mi'))":               "",
	} {
		p := expression.NewCompiler(false).Compile(text, expression.Scope{}, cel.BoolType)
		switch {
		case want == "" && p.Err != nil:
			t.Errorf("%s: %v", text, p.Err)
		case want != "" && (p.Err == nil || !strings.Contains(p.Err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, p.Err, want)
		}
	}
}

func TestRun(t *testing.T) {
	c, err := expression.WithVariables(true)
	if err != nil {
		t.Fatal(err)
	}
	scope := expression.Scope{Params: true}
	c.Variable("replicas", "object.spec.replicas", scope)
	c.Variable("twice", "variables.replicas * 2", scope)
	c.Variable("wrong", "object.spec.nothing", scope)
	run := c.Start(context.Background(), expression.Input{
		Object: deployment(), Params: &corev1.ConfigMap{Data: map[string]string{"max": "5"}},
		Request: &struct {
			Operation string `json:"operation"`
		}{"CREATE"},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"a": "b"}}},
	}, plenty)
	for text, want := range map[string]any{
		"variables.twice > int(params.data.max)":   true,
		"request.operation == 'CREATE'":            true,
		"oldObject == null":                        true,
		"has(object.spec.paused)":                  false,
		"object.metadata.labels.app == 'web'":      true,
		"namespaceObject.metadata.labels.a == 'b'": true,
		"variables.wrong":                          "no such key: nothing",
		"object.metadata.labels.missing == 'x'":    "no such key: missing",
	} {
		value, err := run.Eval(c.Compile(text, scope, cel.AnyType))
		switch wanted := want.(type) {
		case bool:
			if err != nil || value.Value() != wanted {
				t.Errorf("%s: %v %v", text, value, err)
			}
		case string:
			if err == nil || !strings.Contains(err.Error(), wanted) {
				t.Errorf("%s: %v %v, want %q", text, value, err, wanted)
			}
		}
	}
}

func TestCustomResource(t *testing.T) {
	c := expression.NewCompiler(true)
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"size": int64(3), "names": []any{"a", "b"}}}}
	value, err := c.Start(context.Background(), expression.Input{Object: object}, plenty).
		Eval(c.Compile("object.spec.size == 3 && 'b' in object.spec.names", expression.Scope{}, cel.BoolType))
	if err != nil || value.Value() != true {
		t.Errorf("%v %v", value, err)
	}
}

func TestMutationTypes(t *testing.T) {
	c, err := expression.WithVariables(false)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`Object{spec: Object.spec{replicas: 3}}`, `[JSONPatch{op: "remove", path: "/a" + jsonpatch.escapeKey("b/c")}]`} {
		for _, compiler := range []*expression.Compiler{c, expression.NewCompiler(false)} {
			if p := compiler.Compile(text, expression.Scope{Mutation: true}, cel.AnyType); p.Err != nil {
				t.Errorf("%s: %v", text, p.Err)
			}
			if p := compiler.Compile(text, expression.Scope{}, cel.AnyType); p.Err == nil {
				t.Errorf("%s: is known where nothing may be changed", text)
			}
		}
	}
}

func TestBudget(t *testing.T) {
	c := expression.NewCompiler(true)
	dear := c.Compile("[1,2,3,4,5,6,7,8].all(a, [1,2,3,4,5,6,7,8].all(b, [1,2,3,4,5,6,7,8].all(c, a + b + c > 0)))", expression.Scope{}, cel.BoolType)
	run := c.Start(context.Background(), expression.Input{Object: deployment()}, 100)
	if _, err := run.Eval(dear); !errors.Is(err, expression.ErrBudget) {
		t.Errorf("%v", err)
	}
	if _, err := run.Eval(c.Compile("true", expression.Scope{}, cel.BoolType)); !errors.Is(err, expression.ErrBudget) {
		t.Errorf("after the budget was spent: %v", err)
	}
}
