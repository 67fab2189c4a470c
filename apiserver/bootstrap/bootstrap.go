package bootstrap

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/storage"
)

// Config says what the cluster is.
type Config struct {
	Store kinds.Store
	// Keys is where the leases of API servers live, which are no objects of the API.
	Keys *storage.Store
	// Address and Port are where clients inside the cluster reach this server.
	Address netip.Addr
	Port    int32
	// ServiceCIDRs are the ranges of Service addresses; the first address of each is that of default/kubernetes.
	ServiceCIDRs []netip.Prefix
	// Authentication is the data of kube-system/extension-apiserver-authentication.
	Authentication map[string]string
	// Host names this machine in the server's identity lease.
	Host string
	Log  *slog.Logger
}

// Bootstrap keeps the objects.
type Bootstrap struct {
	cfg    Config
	mu     sync.Mutex
	done   map[string]bool
	holder string
}

// Steps are the parts of the start that /readyz names, in order.
var Steps = []string{"start-system-namespaces-controller", "rbac/bootstrap-roles", "scheduling/bootstrap-system-priority-classes",
	"priority-and-fairness-config-producer", "start-cluster-authentication-info-controller", "bootstrap-controller"}

// New makes a Bootstrap. Nothing happens before Run.
func New(cfg Config) *Bootstrap {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Bootstrap{cfg: cfg, done: map[string]bool{}}
}

// Done says whether a step has been finished once.
func (b *Bootstrap) Done(step string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done[step]
}

// AllDone says whether all steps have been.
func (b *Bootstrap) AllDone() bool {
	return !slices.ContainsFunc(append(slices.Clone(Steps), "master"), func(step string) bool { return !b.Done(step) })
}

// every is how often what clients could delete is looked after.
const every = time.Minute

// Run makes everything, again and again until it succeeds, and then looks after it until ctx ends.
func (b *Bootstrap) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { b.runSteps(ctx) })
	group.Go(func() { b.runMaster(ctx) })
	group.Go(func() { b.runIdentity(ctx) })
	group.Wait()
	return nil
}

func (b *Bootstrap) runSteps(ctx context.Context) {
	do := map[string]func(context.Context) error{
		"start-system-namespaces-controller":           b.namespaces,
		"rbac/bootstrap-roles":                         b.roles,
		"scheduling/bootstrap-system-priority-classes": func(ctx context.Context) error { return reconcile(ctx, b.cfg.Store, "classes.yaml") },
		"priority-and-fairness-config-producer":        func(ctx context.Context) error { return reconcile(ctx, b.cfg.Store, "flowcontrol.yaml") },
		"start-cluster-authentication-info-controller": b.configMaps,
		"bootstrap-controller":                         b.serviceCIDR,
	}
	for {
		var group sync.WaitGroup
		failed := false
		for step, f := range do {
			// Roles are seen to at the start alone: whoever changes one afterwards means it.
			if step == "rbac/bootstrap-roles" && b.Done(step) {
				continue
			}
			group.Go(func() {
				err := f(ctx)
				b.mu.Lock()
				defer b.mu.Unlock()
				if err == nil {
					b.done[step] = true
				} else if ctx.Err() == nil {
					failed = true
					b.cfg.Log.Warn("bootstrap step failed, trying again", "step", step, "err", err)
				}
			})
		}
		group.Wait()
		wait := every
		if failed {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (b *Bootstrap) roles(ctx context.Context) error {
	// Roles and bindings in kube-system and kube-public are written at the same time as the namespaces: a store does not
	// ask for them.
	if err := reconcile(ctx, b.cfg.Store, "roles.yaml"); err != nil {
		return err
	}
	return reconcile(ctx, b.cfg.Store, "bindings.yaml")
}

func (b *Bootstrap) kind(resource string) *kinds.Kind {
	return b.cfg.Store.Kind(schema.ParseGroupResource(resource))
}

func (b *Bootstrap) namespaces(ctx context.Context) error {
	kind := b.kind("namespaces")
	have, err := listed(ctx, b.cfg.Store, kind)
	if err != nil {
		return err
	}
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, metav1.NamespaceDefault} {
		if err := ensure(ctx, b.cfg.Store, kind, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, have[[2]string{"", name}]); err != nil {
			return err
		}
	}
	return nil
}

// configMaps tells other servers how to authenticate those who come through this one. Several API servers may differ in
// what they trust, so keys are set and never removed.
func (b *Bootstrap) configMaps(ctx context.Context) error {
	if err := b.setConfigMap(ctx, "extension-apiserver-authentication", b.cfg.Authentication, true); err != nil {
		return err
	}
	return b.setConfigMap(ctx, "kube-apiserver-legacy-service-account-token-tracking",
		map[string]string{"since": time.Now().UTC().Format(time.DateOnly)}, false)
}

func (b *Bootstrap) setConfigMap(ctx context.Context, name string, data map[string]string, update bool) error {
	kind := b.kind("configmaps")
	obj, err := b.cfg.Store.Get(ctx, kind, metav1.NamespaceSystem, name)
	if apierrors.IsNotFound(err) {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: name}, Data: data}
		return ensure(ctx, b.cfg.Store, kind, cm, nil)
	}
	if err != nil || !update {
		return err
	}
	merged := maps.Clone(obj.(*corev1.ConfigMap).Data)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, data)
	if maps.Equal(merged, obj.(*corev1.ConfigMap).Data) {
		return nil
	}
	_, err = b.cfg.Store.Update(ctx, kind, metav1.NamespaceSystem, name, false, func(o runtime.Object) error {
		o.(*corev1.ConfigMap).Data = merged
		return nil
	})
	return err
}

// serviceCIDR makes the default range, and says that it is ready.
func (b *Bootstrap) serviceCIDR(ctx context.Context) error {
	kind := b.kind("servicecidrs.networking.k8s.io")
	if kind == nil {
		return nil
	}
	const name = "kubernetes"
	obj, err := b.cfg.Store.Get(ctx, kind, "", name)
	if apierrors.IsNotFound(err) {
		want := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, p := range b.cfg.ServiceCIDRs {
			want.Spec.CIDRs = append(want.Spec.CIDRs, p.String())
		}
		if err := ensure(ctx, b.cfg.Store, kind, want, nil); err != nil {
			return err
		}
		obj, err = b.cfg.Store.Get(ctx, kind, "", name)
	}
	if err != nil {
		return err
	}
	for _, c := range obj.(*networkingv1.ServiceCIDR).Status.Conditions {
		if c.Type == networkingv1.ServiceCIDRConditionReady {
			return nil // true, or false because it is being deleted
		}
	}
	_, err = b.cfg.Store.Update(ctx, kind, "", name, false, func(o runtime.Object) error {
		c := o.(*networkingv1.ServiceCIDR)
		c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady,
			Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready", LastTransitionTime: metav1.Now()})
		return nil
	})
	if err != nil {
		return fmt.Errorf("mark the default ServiceCIDR as ready: %w", err)
	}
	return nil
}
