package admission_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// limited makes a quota as the controller leaves it: with a status.
func limited(t *testing.T, c kubernetes.Interface, namespace, name string, hard corev1.ResourceList, scopes ...corev1.ResourceQuotaScope) {
	t.Helper()
	q, err := c.CoreV1().ResourceQuotas(namespace).Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ResourceQuotaSpec{Hard: hard, Scopes: scopes}}, create)
	if err != nil {
		t.Fatal(err)
	}
	q.Status.Hard, q.Status.Used = hard, corev1.ResourceList{}
	for k := range hard {
		q.Status.Used[k] = resource.MustParse("0")
	}
	if _, err := c.CoreV1().ResourceQuotas(namespace).UpdateStatus(ctx, q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestQuota(t *testing.T) {
	api := apitest.Start(t)
	c := api.Client()
	q := resource.MustParse

	t.Run("refusals", func(t *testing.T) {
		namespace(t, c, "small", nil)
		limited(t, c, "small", "q", corev1.ResourceList{"pods": q("2"), "requests.cpu": q("1"), "configmaps": q("1"), "services.nodeports": q("1")})
		_, err := c.CoreV1().Pods("small").Create(ctx, pod("a"), create)
		wantError(t, err, `pods "a" is forbidden: failed quota: q: must specify requests.cpu for: c`)
		big := pod("b")
		big.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": q("2")}
		_, err = c.CoreV1().Pods("small").Create(ctx, big, create)
		wantError(t, err, `pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1`)
		for i, want := range []string{"", "exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"} {
			_, err := c.CoreV1().ConfigMaps("small").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}}, create)
			if want == "" && err != nil {
				t.Fatal(err)
			} else if want != "" {
				wantError(t, err, want)
			}
		}
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Type: "NodePort", Ports: []corev1.ServicePort{{Name: "a", Port: 1}, {Name: "b", Port: 2}}}}
		_, err = c.CoreV1().Services("small").Create(ctx, svc, create)
		wantError(t, err, "requested: services.nodeports=2")
	})
	t.Run("scopes", func(t *testing.T) {
		namespace(t, c, "scoped", nil)
		limited(t, c, "scoped", "best-effort", corev1.ResourceList{"pods": q("0")}, corev1.ResourceQuotaScopeBestEffort)
		_, err := c.CoreV1().Pods("scoped").Create(ctx, pod("a"), create)
		wantError(t, err, "exceeded quota: best-effort")
		rich := pod("b")
		rich.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": q("2")}
		if _, err := c.CoreV1().Pods("scoped").Create(ctx, rich, create); err != nil {
			t.Error(err)
		}
	})
	t.Run("without a status nobody knows", func(t *testing.T) {
		namespace(t, c, "new", nil)
		if _, err := c.CoreV1().ResourceQuotas("new").Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"},
			Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"secrets": q("1")}}}, create); err != nil {
			t.Fatal(err)
		}
		// Nothing is limited before the controller has copied what is.
		if _, err := c.CoreV1().Secrets("new").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, create); err != nil {
			t.Error(err)
		}
	})
}

// However many write at once through however many servers, never more get through than the quota has.
func TestQuotaIsExact(t *testing.T) {
	one := apitest.Start(t)
	two := one.Second()
	c := one.Client()
	namespace(t, c, "ns", nil)
	limited(t, c, "ns", "q", corev1.ResourceList{"configmaps": resource.MustParse("20")})
	apitest.Eventually(t, func() error {
		q, err := two.Client().CoreV1().ResourceQuotas("ns").Get(ctx, "q", metav1.GetOptions{})
		if err == nil && len(q.Status.Hard) == 0 {
			err = fmt.Errorf("no status yet")
		}
		return err
	})
	var got, refused atomic.Int64
	var group sync.WaitGroup
	for i, client := range []kubernetes.Interface{one.Client(), two.Client()} {
		for j := range 30 {
			group.Go(func() {
				_, err := client.CoreV1().ConfigMaps("ns").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d-%d", i, j)}}, create)
				switch {
				case err == nil:
					got.Add(1)
				case apierrors.IsForbidden(err):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	if got.Load() != 20 || refused.Load() != 40 {
		t.Errorf("%d created and %d refused, want 20 and 40", got.Load(), refused.Load())
	}
	q, err := c.CoreV1().ResourceQuotas("ns").Get(ctx, "q", metav1.GetOptions{})
	if err != nil || q.Status.Used["configmaps"] != resource.MustParse("20") {
		t.Errorf("used: %v, %v", q.Status.Used, err)
	}
}
