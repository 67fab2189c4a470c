package apitest_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}}}
}

func benchmark(b *testing.B, do func(api *apitest.Server, i int64) error) {
	api := apitest.Start(b)
	ctx := context.Background()
	if _, err := api.Client().CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	if _, err := api.Client().CoreV1().Pods("default").Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(api, n.Add(1)); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	var client atomic.Pointer[func(context.Context) error]
	benchmark(b, func(api *apitest.Server, _ int64) error {
		f := client.Load()
		if f == nil {
			pods := api.Client().CoreV1().Pods("default")
			g := func(ctx context.Context) error { _, err := pods.Get(ctx, "p", metav1.GetOptions{}); return err }
			f = &g
			client.Store(f)
		}
		return (*f)(context.Background())
	})
}

func BenchmarkCreate(b *testing.B) {
	var client atomic.Pointer[func(context.Context, int64) error]
	benchmark(b, func(api *apitest.Server, i int64) error {
		f := client.Load()
		if f == nil {
			pods := api.Client().CoreV1().Pods("default")
			g := func(ctx context.Context, i int64) error {
				_, err := pods.Create(ctx, pod(fmt.Sprint("p", i)), metav1.CreateOptions{})
				return err
			}
			f = &g
			client.Store(f)
		}
		return (*f)(context.Background(), i)
	})
}
