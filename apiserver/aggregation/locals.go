package aggregation

import (
	"context"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/skiff-project/skiff/apiserver/kinds"
)

// automanaged is the label of APIServices that nobody but the server makes: those of built-in groups say onstart, those
// that come and go with definitions true.
const automanaged = "kube-aggregator.kubernetes.io/automanaged"

// Locals says which groups and versions this server has itself. Call it whenever that changes.
func (g *Aggregator) Locals(table []*kinds.Kind) {
	locals := map[schema.GroupVersion]bool{}
	for _, k := range table {
		if k.Internal || k.GVK.Group == apiregistrationv1.GroupName {
			continue
		}
		for i := range k.Served {
			locals[k.Served[i].GVK.GroupVersion()] = k.Custom
		}
	}
	g.mu.Lock()
	g.locals = locals
	g.mu.Unlock()
	g.wake()
}

// keepLocals keeps an APIService for each of them until ctx ends.
func (g *Aggregator) keepLocals(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if err := g.registerLocals(ctx); err != nil && ctx.Err() == nil {
			g.cfg.Log.Warn("APIServices of this server's own groups are not all there", "err", err)
			retry = time.After(again)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
		case <-g.changed:
		}
	}
}

func (g *Aggregator) registerLocals(ctx context.Context) error {
	g.mu.RLock()
	locals := g.locals
	g.mu.RUnlock()
	list, err := g.cfg.Store.List(ctx, g.cfg.Kind, "")
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, obj := range list {
		s := obj.(*apiregistrationv1.APIService)
		there[s.Name] = true
		if _, has := locals[groupVersion(s)]; s.Labels[automanaged] == "true" && !has && s.Spec.Service == nil {
			if _, err := g.cfg.Store.Delete(ctx, g.cfg.Kind, "", s.Name, &metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	for gv, custom := range locals {
		name := gv.Version + "." + gv.Group
		if there[name] {
			continue
		}
		if _, err := g.cfg.Store.Create(ctx, g.cfg.Kind, local(name, gv, custom), false); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

func local(name string, gv schema.GroupVersion, custom bool) *apiregistrationv1.APIService {
	s := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{automanaged: "onstart"}},
		Spec: apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: 1000, VersionPriority: 100}}
	if custom {
		s.Labels[automanaged] = "true"
		return s
	}
	if p, ok := priorities[gv.Group]; ok {
		s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = p, 15
	}
	switch gv.String() {
	case "v1":
		s.Spec.VersionPriority = 1
	case "autoscaling/v2":
		s.Spec.VersionPriority = 30
	case "flowcontrol.apiserver.k8s.io/v1", "resource.k8s.io/v1":
		s.Spec.VersionPriority = 21
	}
	return s
}

// priorities of built-in groups, as upstream's APIServices show them.
var priorities = func() map[string]int32 {
	out := map[string]int32{"": 18000}
	for p, names := range map[int32]string{
		17800: "apps", 17750: "events.k8s.io", 17700: "authentication.k8s.io", 17600: "authorization.k8s.io", 17500: "autoscaling", 17400: "batch",
		17300: "certificates.k8s.io", 17200: "networking.k8s.io", 17100: "policy", 17000: "rbac.authorization.k8s.io", 16800: "storage.k8s.io",
		16700: "apiextensions.k8s.io admissionregistration.k8s.io", 16600: "scheduling.k8s.io", 16500: "coordination.k8s.io", 16300: "node.k8s.io",
		16200: "discovery.k8s.io resource.k8s.io", 16100: "flowcontrol.apiserver.k8s.io", 15800: "storagemigration.k8s.io",
	} {
		for _, name := range strings.Fields(names) {
			out[name] = p
		}
	}
	return out
}()
