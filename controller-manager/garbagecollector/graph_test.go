package garbagecollector

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var (
	maps   = corev1.SchemeGroupVersion.WithResource("configmaps")
	mapper = corev1.SchemeGroupVersion.WithKind("ConfigMap")
)

// object is a ConfigMap in a namespace with owners, all ConfigMaps too; their UIDs are their names.
func object(namespace, name string, owners ...string) *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), ResourceVersion: "1"}}
	for _, owner := range owners {
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner, UID: types.UID(owner), BlockOwnerDeletion: ptr.To(true)})
	}
	return o
}

func going(o *metav1.PartialObjectMetadata, finalizers ...string) *metav1.PartialObjectMetadata {
	o.DeletionTimestamp, o.Finalizers = ptr.To(metav1.Now()), finalizers
	return o
}

func (g *graph) put(o *metav1.PartialObjectMetadata) work { return g.observe(maps, mapper, o) }

func has(uids []types.UID, uid string) bool { return slices.Contains(uids, types.UID(uid)) }

func TestGraph(t *testing.T) {
	t.Run("a dependent before its owner: both are looked at", func(t *testing.T) {
		g := newGraph()
		if w := g.put(object("ns", "child", "owner")); !has(w.attempt, "owner") || !has(w.attempt, "child") {
			t.Errorf("work %+v", w)
		}
		if v, ok := g.look("owner"); !ok || !v.virtual {
			t.Errorf("owner %+v", v)
		}
		if w := g.put(object("ns", "owner")); len(w.attempt)+len(w.strays) != 0 {
			t.Errorf("it is there: %+v", w)
		}
		if v, _ := g.look("child"); v.owner[0] != present {
			t.Errorf("owner is %v", v.owner)
		}
	})
	t.Run("an owner that goes brings its dependents up", func(t *testing.T) {
		g := newGraph()
		g.put(object("ns", "owner"))
		g.put(object("ns", "child", "owner"))
		if w := g.remove("owner"); !has(w.attempt, "child") {
			t.Errorf("work %+v", w)
		}
		if v, _ := g.look("child"); v.owner[0] != unknown || !g.isAbsent("owner", "ns", "owner") {
			t.Errorf("owner is %v", v.owner)
		}
		g.remove("child")
		if len(g.nodes) != 0 {
			t.Errorf("%d nodes are left", len(g.nodes))
		}
	})
	t.Run("foreground: the owner is looked at when a blocking dependent goes or lets go", func(t *testing.T) {
		g := newGraph()
		g.put(object("ns", "owner"))
		g.put(object("ns", "a", "owner"))
		g.put(object("ns", "b", "owner"))
		if w := g.put(going(object("ns", "owner"), foregroundFinalizer)); !has(w.attempt, "owner") {
			t.Errorf("work %+v", w)
		}
		if v, _ := g.look("a"); v.owner[0] != waiting {
			t.Errorf("owner is %v", v.owner)
		}
		if w := g.remove("a"); !has(w.attempt, "owner") {
			t.Errorf("one is gone: %+v", w)
		}
		free := object("ns", "b", "owner")
		free.OwnerReferences[0].BlockOwnerDeletion = nil
		if w := g.put(free); !has(w.attempt, "owner") {
			t.Errorf("one no longer blocks: %+v", w)
		}
		if v, _ := g.look("owner"); len(v.dependents) != 1 || v.dependents[0].blocking {
			t.Errorf("dependents %+v", v.dependents)
		}
	})
	t.Run("orphan: the owner's dependents are let go once", func(t *testing.T) {
		g := newGraph()
		g.put(object("ns", "owner"))
		g.put(object("ns", "child", "owner"))
		if w := g.put(going(object("ns", "owner"), orphanFinalizer)); !has(w.orphan, "owner") || has(w.attempt, "child") {
			t.Errorf("work %+v", w)
		}
		if w := g.put(going(object("ns", "owner"), orphanFinalizer)); len(w.orphan) != 0 {
			t.Errorf("again: %+v", w)
		}
		if w := g.put(object("ns", "child")); len(w.attempt) != 0 {
			t.Errorf("child let go: %+v", w)
		}
		if v, _ := g.look("owner"); len(v.dependents) != 0 {
			t.Errorf("dependents %+v", v.dependents)
		}
	})
	t.Run("a reference across namespaces does not hold", func(t *testing.T) {
		g := newGraph()
		g.put(object("other", "owner"))
		w := g.put(object("ns", "child", "owner"))
		if len(w.strays) != 1 || !has(w.attempt, "child") {
			t.Errorf("work %+v", w)
		}
		if v, _ := g.look("child"); v.owner[0] != unknown {
			t.Errorf("owner is %v", v.owner)
		}
	})
	t.Run("a reference across namespaces that was there first", func(t *testing.T) {
		g := newGraph()
		g.put(object("ns", "child", "owner"))
		if w := g.put(object("other", "owner")); len(w.strays) != 1 || !has(w.attempt, "child") {
			t.Errorf("work %+v", w)
		}
	})
	t.Run("other versions of a kind are the same place", func(t *testing.T) {
		g := newGraph()
		g.put(object("ns", "owner"))
		child := object("ns", "child", "owner")
		child.OwnerReferences[0].APIVersion = "v2"
		if w := g.put(child); len(w.strays) != 0 {
			t.Errorf("work %+v", w)
		}
	})
	t.Run("absence is remembered per place", func(t *testing.T) {
		g := newGraph()
		g.absent("owner", "ns", "owner")
		if !g.isAbsent("owner", "ns", "owner") || g.isAbsent("owner", "other", "owner") {
			t.Error("absent in one namespace says nothing about another")
		}
		for range 2 * len(g.gone.ring) {
			g.gone.add(goneKey{types.UID(string(rune(len(g.gone.seen)))), "", ""})
		}
		if len(g.gone.seen) > len(g.gone.ring) {
			t.Errorf("%d are remembered", len(g.gone.seen))
		}
	})
}
