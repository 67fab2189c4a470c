package registry

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/wire"
)

func viewFor(kind *kinds.Kind) view {
	res := &Resource{Kind: kind, Codec: wire.NewCodec(kind)}
	return asItself{res: res, version: &kind.Served[0]}
}

// TestPartialPatchesAgree holds the short way of a patch against the long one.
func TestPartialPatchesAgree(t *testing.T) {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", Labels: map[string]string{"a": "b"}, Finalizers: []string{"x/y"}},
		Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{
			{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}},
			{Name: "d", Image: "j", Env: []corev1.EnvVar{{Name: "A", Value: "1"}}}}},
		Status: corev1.PodStatus{Phase: "Pending", Conditions: []corev1.PodCondition{{Type: "Ready", Status: "False"}, {Type: "PodScheduled", Status: "True"}}},
	}
	two := int32(2)
	deployment := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{Kind: "Deployment", APIVersion: "apps/v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "d", Annotations: map[string]string{"a": "b"}},
		Spec:       appsv1.DeploymentSpec{Replicas: &two, Template: corev1.PodTemplateSpec{Spec: pod.Spec}},
	}
	views := map[runtime.Object]view{
		pod:        viewFor(kinds.Define(kinds.Row[*corev1.Pod]{Resource: "pods"})),
		deployment: viewFor(kinds.Define(kinds.Row[*appsv1.Deployment]{Resource: "deployments"})),
	}
	for _, c := range []struct {
		obj  runtime.Object
		body string
		// both says that the short way is expected to be taken, for both types of patch.
		both bool
	}{
		{pod, `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, true},
		{pod, `{"status":{"conditions":[{"$patch":"delete","type":"Ready"}]}}`, false},
		{pod, `{"status":{"$setElementOrder/conditions":[{"type":"Ready"},{"type":"PodScheduled"}],"conditions":[{"type":"Ready","status":"True"}]}}`, false},
		{pod, `{"status":{"$patch":"replace","phase":"Failed"}}`, false},
		{pod, `{"status":null}`, true},
		{pod, `{"metadata":{"labels":{"a":null,"c":"d"},"finalizers":null}}`, true},
		{pod, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["x/y"]}}`, false},
		{pod, `{"spec":{"containers":[{"name":"c","image":"k"}]}}`, true},
		{pod, `{"spec":{"nodeName":null},"status":{"phase":"Failed"}}`, true},
		{pod, `{"spec":{}}`, true},
		{deployment, `{"spec":{"replicas":3}}`, true},
		{deployment, `{"spec":{"replicas":null,"template":{"metadata":{"labels":{"x":"y"}}}}}`, true},
		{deployment, `{"spec":{"template":{"spec":{"containers":[{"name":"d","env":[{"name":"B","value":"2"}]}]}}}}`, true},
		{pod, `{"kind":"Pod"}`, false},
		{pod, `{"unknown":{}}`, false},
		{pod, `{"status":{"unknown":1}}`, false},
		{pod, `{"status":{"phase":5}}`, false},
		{pod, `{"status":[]}`, false},
		{pod, `{"$patch":"replace","status":{}}`, false},
		{pod, `[]`, false},
		{pod, `5`, false},
		{pod, `{}`, false},
	} {
		for _, typ := range []types.PatchType{types.StrategicMergePatchType, types.MergePatchType} {
			t.Run(string(typ)+" "+c.body, func(t *testing.T) {
				before := c.obj.DeepCopyObject()
				p := &Patch{Type: typ, Body: []byte(c.body), Validation: metav1.FieldValidationStrict}
				v := views[c.obj]
				short := p.partial(v, c.obj)
				var long runtime.Object
				var err error
				if typ == types.StrategicMergePatchType {
					long, err = p.strategic(context.Background(), v, c.obj)
				} else {
					long, err = p.plain(context.Background(), v, c.obj)
				}
				if diff := cmp.Diff(before, c.obj); diff != "" {
					t.Errorf("the object was changed: %s", diff)
				}
				if short == nil {
					if c.both {
						t.Error("took the long way")
					}
					return
				}
				if err != nil {
					t.Fatalf("the long way refuses: %v", err)
				}
				if diff := cmp.Diff(long, short); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}
