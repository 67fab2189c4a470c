package replication

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/skiff-project/skiff/controller-manager/control"
	"github.com/skiff-project/skiff/controller-manager/replicaset"
)

// New answers the controller of ReplicationControllers.
func New(env control.Env) *replicaset.Controller {
	api := env.Client.CoreV1()
	return replicaset.NewFor(env, replicaset.Sets{
		Name: "replication-controller", Events: "replication-controller",
		Kind:     corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Informer: env.Informers.Core().V1().ReplicationControllers().Informer(),
		View: func(object any) (*appsv1.ReplicaSet, bool) {
			rc, ok := object.(*corev1.ReplicationController)
			if !ok {
				return nil, false
			}
			return asSet(rc), true
		},
		Real: func(set *appsv1.ReplicaSet) runtime.Object { return asController(set) },
		Live: func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error) {
			rc, err := api.ReplicationControllers(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			return asSet(rc), nil
		},
		UpdateStatus: func(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
			rc, err := api.ReplicationControllers(set.Namespace).UpdateStatus(ctx, asController(set), metav1.UpdateOptions{})
			if err != nil {
				return nil, err
			}
			return asSet(rc), nil
		},
	})
}
