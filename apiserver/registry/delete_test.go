package registry_test

import (
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiff-project/skiff/apiserver/apitest"
)

// A pod that is deleted by force is marked first and removed then. A write to the marked pod removes it too, and the one who
// asked for the deletion must not be told that there is no such pod.
func TestForcedDeletionBesideWrites(t *testing.T) {
	api := apitest.Start(t)
	ctx, pods := t.Context(), api.Client().CoreV1().Pods("default")
	if _, err := api.Client().CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for round := range 60 {
		name := fmt.Sprintf("p-%d", round)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "busybox:1"}}}}
		if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := 0; ; i++ {
					patch := fmt.Appendf(nil, `{"status":{"message":"%d-%d"}}`, w, i)
					_, err := pods.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
					if apierrors.IsNotFound(err) {
						return
					}
					if err != nil && !apierrors.IsConflict(err) {
						t.Errorf("status: %v", err)
						return
					}
				}
			})
		}
		if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		writers.Wait()
	}
}
