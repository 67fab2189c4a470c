package apitest_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

func TestTwoServersOnOneEtcd(t *testing.T) {
	ctx := context.Background()
	one := apitest.Start(t)
	two := one.Second()
	a, b := one.Client().CoreV1(), two.Client().CoreV1()
	for i := range 20 {
		name := fmt.Sprintf("c%d", i)
		if _, err := a.ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		// What one server has acknowledged the other one shows at once.
		if _, err := b.ConfigMaps("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUsers(t *testing.T) {
	ctx := context.Background()
	api := apitest.Start(t)
	for _, c := range []struct {
		name string
		err  error
		want func(error) bool
	}{
		{"administrator", listPods(ctx, api, nil), func(err error) bool { return err == nil }},
		{"somebody", listPods(ctx, api, func() { api.Config = api.As("bob") }), apierrors.IsForbidden},
		{"nobody", listPods(ctx, api, func() { api.Config = api.Anonymous() }), apierrors.IsForbidden},
		{"wrong token", listPods(ctx, api, func() { api.Config = api.WithToken("wrong") }), apierrors.IsUnauthorized},
	} {
		if !c.want(c.err) {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
}

func listPods(ctx context.Context, api *apitest.Server, as func()) error {
	if as != nil {
		as()
	}
	_, err := api.Client().CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
	return err
}
