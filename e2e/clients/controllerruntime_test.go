package clients

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	operated  = "operator"
	finalizer = "example.com/goodbye"
)

// mirror keeps a Secret for each ConfigMap that asks for it, and says goodbye before the ConfigMap goes.
type mirror struct{ crclient.Client }

func (m *mirror) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cm := &corev1.ConfigMap{}
	if err := m.Get(ctx, req.NamespacedName, cm); err != nil {
		return ctrl.Result{}, crclient.IgnoreNotFound(err)
	}
	if !cm.DeletionTimestamp.IsZero() {
		note := coreapply.ConfigMap("goodbye-"+cm.Name, cm.Namespace).WithData(map[string]string{"from": cm.Name})
		if err := m.Apply(ctx, note, crclient.FieldOwner("mirror"), crclient.ForceOwnership); err != nil {
			return ctrl.Result{}, err
		}
		before := cm.DeepCopy()
		controllerutil.RemoveFinalizer(cm, finalizer)
		return ctrl.Result{}, m.Patch(ctx, cm, crclient.MergeFrom(before))
	}
	if controllerutil.AddFinalizer(cm, finalizer) {
		if err := m.Update(ctx, cm); err != nil {
			return ctrl.Result{}, err
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: cm.Name, Namespace: cm.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, m.Client, secret, func() error {
		secret.Data = map[string][]byte{}
		for k, v := range cm.Data {
			secret.Data[k] = []byte(v)
		}
		return controllerutil.SetControllerReference(cm, secret, m.Scheme())
	})
	return ctrl.Result{}, err
}

func TestManager(t *testing.T) {
	namespace(t, operated)
	log.SetLogger(zap.New())
	m, err := ctrl.NewManager(admin, manager.Options{Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		LeaderElection: true, LeaderElectionID: "mirror.example.com", LeaderElectionNamespace: operated, LeaderElectionReleaseOnCancel: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.GetFieldIndexer().IndexField(context.Background(), &corev1.Secret{}, "owner", func(o crclient.Object) []string {
		if owner := metav1.GetControllerOf(o); owner != nil {
			return []string{owner.Name}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	asked := predicate.NewPredicateFuncs(func(o crclient.Object) bool { return o.GetLabels()["mirror"] == "yes" })
	err = ctrl.NewControllerManagedBy(m).For(&corev1.ConfigMap{}, builder.WithPredicates(asked)).Owns(&corev1.Secret{}).
		WatchesMetadata(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o crclient.Object) []reconcile.Request {
			return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetAnnotations()["for"]}}}
		})).Complete(&mirror{m.GetClient()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	defer func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the manager does not stop")
		}
	}()

	direct, err := crclient.New(admin, crclient.Options{Scheme: clientscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: operated, Labels: map[string]string{"mirror": "yes"}}, Data: map[string]string{"k": "v"}}
	plain := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b", Namespace: operated}}
	for _, o := range []crclient.Object{cm, plain} {
		if err := direct.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want string) func() error {
		return func() error {
			secret := &corev1.Secret{}
			if err := direct.Get(ctx, crclient.ObjectKeyFromObject(cm), secret); err != nil {
				return err
			}
			if got := string(secret.Data["k"]); got != want || metav1.GetControllerOf(secret).Name != "a" {
				return fmt.Errorf("the secret holds %q, owned by %v", got, metav1.GetControllerOf(secret))
			}
			return nil
		}
	}
	eventually(t, holds("v"))
	if err := direct.Patch(ctx, cm, crclient.RawPatch(types.MergePatchType, []byte(`{"data":{"k":"w"}}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, holds("w"))
	// What somebody takes away comes back.
	if err := direct.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: operated}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, holds("w"))
	if err := direct.Get(ctx, crclient.ObjectKeyFromObject(plain), &corev1.Secret{}); !apierrors.IsNotFound(err) {
		t.Errorf("a secret that nobody asked for: %v", err)
	}
	// The manager's cache answers by its index.
	eventually(t, func() error {
		list := &corev1.SecretList{}
		if err := m.GetClient().List(ctx, list, crclient.InNamespace(operated), crclient.MatchingFields{"owner": "a"}); err != nil {
			return err
		}
		if len(list.Items) != 1 {
			return fmt.Errorf("%d secrets by index", len(list.Items))
		}
		return nil
	})
	// Objects of which only the metadata are watched.
	partial := &metav1.PartialObjectMetadataList{}
	partial.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMapList"})
	if err := m.GetClient().List(ctx, partial, crclient.InNamespace(operated)); err != nil || len(partial.Items) < 2 {
		t.Errorf("metadata: %d, %v", len(partial.Items), err)
	}
	if err := direct.Delete(ctx, cm); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := direct.Get(ctx, types.NamespacedName{Namespace: operated, Name: "goodbye-a"}, &corev1.ConfigMap{}); err != nil {
			return err
		}
		if err := direct.Get(ctx, crclient.ObjectKeyFromObject(cm), &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the finalizer is still there: %w", err)
		}
		return nil
	})
	lease := &corev1.EventList{}
	eventually(t, func() error {
		if err := direct.List(ctx, lease, crclient.InNamespace(operated)); err != nil {
			return err
		}
		for _, e := range lease.Items {
			if e.Reason == "LeaderElection" {
				return nil
			}
		}
		return fmt.Errorf("no event tells who leads")
	})
}
