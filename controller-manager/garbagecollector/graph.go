package garbagecollector

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// place is where an object is to be found.
type place struct {
	apiVersion, kind, namespace, name string
}

// node is one object.
type node struct {
	uid                types.UID
	place              place
	resource           schema.GroupVersionResource // empty for a virtual node
	version            string
	owners             []metav1.OwnerReference
	deleting           bool
	foreground, orphan bool // which finalizers it has
	// virtual nodes are known only from somebody's owner reference.
	virtual    bool
	dependents map[types.UID]*node
}

// waits says that the object goes once its dependents have.
func (n *node) waits() bool { return n.deleting && n.foreground }

// work is what a change of the graph gives rise to.
type work struct {
	attempt []types.UID // look whether these should be deleted
	orphan  []types.UID // take these away from their dependents
	strays  []stray     // references across namespaces, which never hold
}

// stray is an object that refers to an owner that is in another place than the reference says.
type stray struct {
	dependent place
	uid       types.UID
	reference metav1.OwnerReference
}

// graph is who owns whom. Its mutex is held for moments only, never during a request.
type graph struct {
	mu    sync.Mutex
	nodes map[types.UID]*node
	gone  goneSet
}

func newGraph() *graph {
	return &graph{nodes: map[types.UID]*node{}, gone: goneSet{seen: map[goneKey]bool{}}}
}

const (
	foregroundFinalizer = metav1.FinalizerDeleteDependents
	orphanFinalizer     = metav1.FinalizerOrphanDependents
)

// observe takes note of an object as it is now.
func (g *graph) observe(resource schema.GroupVersionResource, kind schema.GroupVersionKind, object metav1.Object) work {
	g.mu.Lock()
	defer g.mu.Unlock()
	var w work
	n := g.nodes[object.GetUID()]
	if n == nil {
		n = &node{uid: object.GetUID(), dependents: map[types.UID]*node{}}
		g.nodes[n.uid] = n
	}
	fresh := n.virtual || n.version == ""
	wasWaiting, wasOrphaning := n.waits(), n.deleting && n.orphan
	n.place = place{kind.GroupVersion().String(), kind.Kind, object.GetNamespace(), object.GetName()}
	n.resource, n.version, n.virtual = resource, object.GetResourceVersion(), false
	n.deleting = object.GetDeletionTimestamp() != nil
	n.foreground = slices.Contains(object.GetFinalizers(), foregroundFinalizer)
	n.orphan = slices.Contains(object.GetFinalizers(), orphanFinalizer)
	g.relink(n, object.GetOwnerReferences(), &w)

	if fresh {
		// Those that knew of it by reference alone may have had the place wrong.
		for _, d := range n.dependents {
			if ref := d.reference(n.uid); ref != nil && !refersTo(d, *ref, n) {
				w.strays = append(w.strays, stray{d.place, d.uid, *ref})
				w.attempt = append(w.attempt, d.uid)
			}
		}
	}
	if n.deleting && n.orphan && !wasOrphaning {
		w.orphan = append(w.orphan, n.uid)
	}
	if n.waits() && !wasWaiting {
		w.attempt = append(w.attempt, n.uid)
	}
	if fresh && n.deleting && !n.waits() {
		for uid := range n.dependents {
			w.attempt = append(w.attempt, uid)
		}
	}
	return w
}

// relink makes n a dependent of exactly refs' owners.
func (g *graph) relink(n *node, refs []metav1.OwnerReference, w *work) {
	old := n.owners
	n.owners = slices.Clone(refs)
	for _, ref := range old {
		now := n.reference(ref.UID)
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		if now == nil {
			delete(owner.dependents, n.uid)
			g.dropIfUnused(owner)
		}
		released := now == nil || (ptr.Deref(ref.BlockOwnerDeletion, false) && !ptr.Deref(now.BlockOwnerDeletion, false))
		if released && owner.waits() {
			w.attempt = append(w.attempt, owner.uid)
		}
	}
	for _, ref := range refs {
		owner := g.nodes[ref.UID]
		if owner == nil {
			owner = &node{
				uid: ref.UID, virtual: true, dependents: map[types.UID]*node{},
				place: place{ref.APIVersion, ref.Kind, n.place.namespace, ref.Name},
			}
			g.nodes[ref.UID] = owner
		}
		_, known := owner.dependents[n.uid]
		owner.dependents[n.uid] = n
		switch {
		case known:
		case owner.virtual:
			// Several dependents may say different things about where their owner is; each is checked by its own word.
			w.attempt = append(w.attempt, owner.uid, n.uid)
		case !refersTo(n, ref, owner):
			w.strays = append(w.strays, stray{n.place, n.uid, ref})
			w.attempt = append(w.attempt, n.uid)
		case owner.deleting:
			w.attempt = append(w.attempt, n.uid)
		}
	}
}

func (n *node) reference(uid types.UID) *metav1.OwnerReference {
	for i := range n.owners {
		if n.owners[i].UID == uid {
			return &n.owners[i]
		}
	}
	return nil
}

// refersTo says that ref, found on d, names the place where owner is. An owner is in the namespace of its dependent, or in
// none. Versions of the same kind are all the same place.
func refersTo(d *node, ref metav1.OwnerReference, owner *node) bool {
	if ref.Kind != owner.place.kind || ref.Name != owner.place.name || groupOf(ref.APIVersion) != groupOf(owner.place.apiVersion) {
		return false
	}
	return owner.place.namespace == "" || owner.place.namespace == d.place.namespace
}

func groupOf(apiVersion string) string {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return apiVersion
	}
	return gv.Group
}

// remove takes note that an object is gone. uid is enough: a UID is never used again.
func (g *graph) remove(uid types.UID) work {
	g.mu.Lock()
	defer g.mu.Unlock()
	var w work
	n := g.nodes[uid]
	if n == nil {
		return w
	}
	if !n.virtual {
		g.gone.add(goneKey{uid, "", ""})
	}
	for _, ref := range n.owners {
		if owner := g.nodes[ref.UID]; owner != nil {
			delete(owner.dependents, uid)
			if owner.waits() {
				w.attempt = append(w.attempt, owner.uid)
			}
			g.dropIfUnused(owner)
		}
	}
	n.owners = nil
	for dependent := range n.dependents {
		w.attempt = append(w.attempt, dependent)
	}
	if len(n.dependents) == 0 {
		delete(g.nodes, uid)
		return w
	}
	// Its dependents still name it. It stays, virtual, until they are gone or no longer do.
	n.virtual, n.version, n.resource, n.deleting = true, "", schema.GroupVersionResource{}, false
	return w
}

func (g *graph) dropIfUnused(n *node) {
	if n.virtual && len(n.dependents) == 0 {
		delete(g.nodes, n.uid)
	}
}

// absent notes that a read of the server found no object of that UID where a dependent in namespace said it was.
func (g *graph) absent(uid types.UID, namespace, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone.add(goneKey{uid, namespace, name})
}

func (g *graph) isAbsent(uid types.UID, namespace, name string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.gone.seen[goneKey{uid, "", ""}] || g.gone.seen[goneKey{uid, namespace, name}]
}

// view is a node as it was at one moment, for use without the lock.
type view struct {
	node
	// owner says what the graph knows of each owner, in the order of owners.
	owner      []ownerState
	dependents []dependentView
}

type dependentView struct {
	uid      types.UID
	waits    bool
	blocking bool
}

type ownerState int

const (
	unknown ownerState = iota // not in the graph, or not in the place named
	present
	waiting // present, and going once its dependents have
)

func (g *graph) look(uid types.UID) (view, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return view{}, false
	}
	v := view{node: *n}
	v.node.dependents = nil
	for _, ref := range n.owners {
		state := unknown
		if owner := g.nodes[ref.UID]; owner != nil && !owner.virtual && refersTo(n, ref, owner) {
			state = present
			if owner.waits() {
				state = waiting
			}
		}
		v.owner = append(v.owner, state)
	}
	for _, d := range n.dependents {
		ref := d.reference(uid)
		v.dependents = append(v.dependents, dependentView{d.uid, d.waits(), ref != nil && ptr.Deref(ref.BlockOwnerDeletion, false)})
	}
	return v, true
}

// of answers the UIDs of all real nodes of one resource.
func (g *graph) of(resource schema.GroupVersionResource) map[types.UID]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[types.UID]bool{}
	for uid, n := range g.nodes {
		if !n.virtual && n.resource == resource {
			all[uid] = true
		}
	}
	return all
}

type goneKey struct {
	uid             types.UID
	namespace, name string // empty: gone wherever it was
}

// goneSet remembers the last objects known to be gone, so that of a thousand dependents one asks the server.
type goneSet struct {
	seen map[goneKey]bool
	ring [1000]goneKey
	next int
}

func (s *goneSet) add(key goneKey) {
	if s.seen[key] {
		return
	}
	delete(s.seen, s.ring[s.next])
	s.ring[s.next], s.seen[key] = key, true
	s.next = (s.next + 1) % len(s.ring)
}
