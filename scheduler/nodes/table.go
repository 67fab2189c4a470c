package nodes

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
)

// Node is a row of the table.
type Node struct {
	Obj  *corev1.Node
	Name string
	// Index is the row's number. It changes only together with the table's Layout.
	Index int
	// Gen grows with every change of this row that a rule could read.
	Gen uint64

	Allocatable Resources
	Requested   Resources
	NonZero     Resources // CPU and memory as scores count them
	Pods        map[types.UID]*Pod
	// Images are the sizes of the images on the node by every name they have.
	Images map[string]int64
}

// Table is all nodes. Rows of nodes that are gone are removed; pods whose node is not known (yet) wait aside.
type Table struct {
	Rows []*Node
	// Layout grows when a row comes or goes or a node's labels, taints or schedulability change.
	Layout uint64

	byName  map[string]*Node
	pods    map[types.UID]placed
	early   map[string]map[types.UID]*Pod // pods on nodes that are not known
	domains map[string]*Domains
	gen     uint64
	images  uint64
	// PodChanged, if set, is told of every pod that comes to (+1) or leaves (-1) a row.
	PodChanged func(p *Pod, n *Node, sign int32)
}

type placed struct {
	pod  *Pod
	node string
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{byName: map[string]*Node{}, pods: map[types.UID]placed{}, early: map[string]map[types.UID]*Pod{}, domains: map[string]*Domains{}}
}

// ImagesGen grows when the set of images on any node changes.
func (t *Table) ImagesGen() uint64 { return t.images }

// Node finds a row by name, or nil.
func (t *Table) Node(name string) *Node { return t.byName[name] }

// Pod finds a pod on any node; the name of its node comes with it.
func (t *Table) Pod(uid types.UID) (*Pod, string, bool) {
	p, ok := t.pods[uid]
	return p.pod, p.node, ok
}

// Change says what about a node is different from before.
type Change struct {
	Added, Allocatable, Labels, Taints, Conditions bool
}

// Any reports whether anything that scheduling reads has changed.
func (c Change) Any() bool { return c.Added || c.Allocatable || c.Labels || c.Taints || c.Conditions }

// SetNode adds or updates a row and says what changed.
func (t *Table) SetNode(obj *corev1.Node) Change {
	n := t.byName[obj.Name]
	if n == nil {
		n = &Node{Obj: obj, Name: obj.Name, Index: len(t.Rows), Pods: map[types.UID]*Pod{}}
		t.Rows = append(t.Rows, n)
		t.byName[obj.Name] = n
		n.Allocatable, n.Images = FromList(obj.Status.Allocatable), imageSizes(obj)
		t.relayout()
		t.images++
		for _, p := range t.early[obj.Name] {
			t.put(p, n)
		}
		delete(t.early, obj.Name)
		t.touch(n)
		return Change{Added: true}
	}
	old := n.Obj
	c := Change{
		Allocatable: !apiequality.Semantic.DeepEqual(old.Status.Allocatable, obj.Status.Allocatable),
		Labels:      !maps.Equal(old.Labels, obj.Labels),
		Taints:      old.Spec.Unschedulable != obj.Spec.Unschedulable || !apiequality.Semantic.DeepEqual(old.Spec.Taints, obj.Spec.Taints),
	}
	n.Obj = obj
	if c.Allocatable {
		n.Allocatable = FromList(obj.Status.Allocatable)
	}
	images := imageSizes(obj)
	imagesChanged := !maps.Equal(n.Images, images)
	n.Images = images
	if imagesChanged {
		t.images++
	}
	if c.Labels || c.Taints {
		t.relayout()
	}
	if c.Any() || imagesChanged {
		t.touch(n)
	}
	return c
}

// RemoveNode removes a row. Its pods wait for it to come back or to be removed themselves.
func (t *Table) RemoveNode(name string) {
	n := t.byName[name]
	if n == nil {
		return
	}
	for _, p := range n.Pods {
		if t.early[name] == nil {
			t.early[name] = map[types.UID]*Pod{}
		}
		t.early[name][p.UID()] = p
	}
	delete(t.byName, name)
	last := t.Rows[len(t.Rows)-1]
	t.Rows[n.Index] = last
	last.Index = n.Index
	t.Rows[len(t.Rows)-1] = nil
	t.Rows = t.Rows[:len(t.Rows)-1]
	t.relayout()
	t.images++
	t.touch(last)
}

// SetPod puts a pod on a node, or replaces what was known of it there.
func (t *Table) SetPod(p *Pod, node string) {
	t.RemovePod(p.UID())
	t.pods[p.UID()] = placed{p, node}
	if n := t.byName[node]; n != nil {
		t.put(p, n)
		return
	}
	if t.early[node] == nil {
		t.early[node] = map[types.UID]*Pod{}
	}
	t.early[node][p.UID()] = p
}

// RemovePod takes a pod off its node and reports whether it was on one.
func (t *Table) RemovePod(uid types.UID) bool {
	at, ok := t.pods[uid]
	if !ok {
		return false
	}
	delete(t.pods, uid)
	if n := t.byName[at.node]; n != nil {
		t.take(at.pod, n)
	} else if early := t.early[at.node]; early != nil {
		delete(early, uid)
		if len(early) == 0 {
			delete(t.early, at.node)
		}
	}
	return true
}

// Lift takes a pod off a row for a "what if" and Put puts it back. Between the two the table must not be used otherwise.
func (t *Table) Lift(p *Pod, n *Node) { t.take(p, n) }

// Put undoes Lift; it also adds a pod that is only expected on the row.
func (t *Table) Put(p *Pod, n *Node) { t.put(p, n) }

func (t *Table) put(p *Pod, n *Node) {
	n.Pods[p.UID()] = p
	n.Requested.add(&p.Request, 1)
	n.NonZero.add(&p.NonZero, 1)
	t.touch(n)
	if t.PodChanged != nil {
		t.PodChanged(p, n, 1)
	}
}

func (t *Table) take(p *Pod, n *Node) {
	delete(n.Pods, p.UID())
	n.Requested.add(&p.Request, -1)
	n.NonZero.add(&p.NonZero, -1)
	t.touch(n)
	if t.PodChanged != nil {
		t.PodChanged(p, n, -1)
	}
}

func (t *Table) touch(n *Node) {
	t.gen++
	n.Gen = t.gen
}

func (t *Table) relayout() {
	t.Layout++
	clear(t.domains)
}

func imageSizes(obj *corev1.Node) map[string]int64 {
	out := make(map[string]int64, len(obj.Status.Images))
	for _, i := range obj.Status.Images {
		for _, name := range i.Names {
			out[name] = i.SizeBytes
		}
	}
	return out
}

// Domains numbers the values of one topology key over the rows.
type Domains struct {
	// Of is the domain of each row, -1 where the node lacks the label.
	Of []int32
	// Count is how many domains there are.
	Count int
}

// Domains returns the numbering of a topology key, which holds until Layout changes.
func (t *Table) Domains(key string) *Domains {
	if d := t.domains[key]; d != nil {
		return d
	}
	d := &Domains{Of: make([]int32, len(t.Rows))}
	numbers := map[string]int32{}
	for i, n := range t.Rows {
		value, ok := n.Obj.Labels[key]
		if !ok {
			d.Of[i] = -1
			continue
		}
		number, ok := numbers[value]
		if !ok {
			number = int32(len(numbers))
			numbers[value] = number
		}
		d.Of[i] = number
	}
	d.Count = len(numbers)
	t.domains[key] = d
	return d
}
