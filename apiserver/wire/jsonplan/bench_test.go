package jsonplan_test

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/skiff-project/skiff/apiserver/wire/jsonplan"
)

func usualPod() *corev1.Pod {
	p := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Labels: map[string]string{"app": "web", "tier": "front"},
			Annotations: map[string]string{"example.com/note": strings.Repeat("n", 400)}}}
	for _, n := range []string{"web", "sidecar"} {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "registry.example.com/team/" + n + ":v1.2.3",
			Env:   []corev1.EnvVar{{Name: "A", Value: strings.Repeat("a", 50)}, {Name: "B", Value: strings.Repeat("b", 50)}},
			Ports: []corev1.ContainerPort{{ContainerPort: 8080}}})
	}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{".":{},"f:app":{},"f:tier":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{}}}}}`)}}
	return p
}

func BenchmarkAppend(b *testing.B) {
	pod := usualPod()
	b.Run("plan", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for range b.N {
			buf, _ = jsonplan.Append(buf[:0], pod)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = json.Marshal(pod)
		}
	})
}

func BenchmarkUnmarshal(b *testing.B) {
	data, _ := json.Marshal(usualPod())
	b.Run("plan", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			jsonplan.Unmarshal(data, &corev1.Pod{})
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = kjson.UnmarshalStrict(data, &corev1.Pod{})
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	for name, patch := range map[string]string{
		"status":     `{"status":{"phase":"Running","podIP":"10.244.1.7","podIPs":[{"ip":"10.244.1.7"}],"conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`,
		"annotation": `{"metadata":{"annotations":{"example.com/update":"1"}}}`,
	} {
		strategic := name == "status"
		b.Run(name+"/plan", func(b *testing.B) {
			pod := usualPod()
			b.ReportAllocs()
			for range b.N {
				jsonplan.Merge(pod.DeepCopy(), []byte(patch), strategic)
			}
		})
		b.Run(name+"/library", func(b *testing.B) {
			pod := usualPod()
			b.ReportAllocs()
			for range b.N {
				_, _ = library(pod, []byte(patch), strategic, &corev1.Pod{})
			}
		})
	}
}
