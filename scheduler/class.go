package scheduler

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/scheduler/filter"
	"github.com/skiff-project/skiff/scheduler/nodes"
	"github.com/skiff-project/skiff/scheduler/score"
)

// class is what is known about the nodes for pods that are the same to every rule.
type class struct {
	pod      *nodes.Pod // one of them
	rules    []filter.Rule
	affinity *score.NodeAffinity
	lastUsed uint64

	layout uint64
	// For each row, as of the row's generation gen: the first refusal of a local rule, and the scores that depend on that
	// row alone (base, weighted; taints and prefer, raw).
	gen     []uint64
	verdict []*filter.Verdict
	base    []int64
	taints  []int64
	prefer  []int64

	// topology is nil until it is needed, and after it has become wrong as a whole.
	topology *filter.Topology
}

var classSeed = maphash.MakeSeed()

// classKey is equal for pods that no rule can tell apart.
func classKey(p *nodes.Pod) uint64 {
	var h maphash.Hash
	h.SetSeed(classSeed)
	put := func(parts ...string) {
		for _, s := range parts {
			_, _ = h.WriteString(s) // never fails
			_ = h.WriteByte(0)
		}
	}
	spec := &p.Obj.Spec
	put(p.Key.Namespace, spec.NodeName, string(p.Owner), fmt.Sprint(p.Priority))
	put(sortedPairs(p.Labels)...)
	put("selector")
	put(sortedPairs(spec.NodeSelector)...)
	put("request", fmt.Sprint(p.Request, p.NonZero, p.Ports, p.Claims))
	for i := range spec.InitContainers {
		put(spec.InitContainers[i].Image)
	}
	for i := range spec.Containers {
		put(spec.Containers[i].Image)
	}
	for i := range spec.Tolerations {
		put(spec.Tolerations[i].String())
	}
	if spec.Affinity != nil {
		put(spec.Affinity.String())
	}
	for i := range spec.TopologySpreadConstraints {
		put(spec.TopologySpreadConstraints[i].String())
	}
	return h.Sum64()
}

func sortedPairs(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// classes keeps the classes that were used last.
type classes struct {
	byKey map[uint64]*class
	clock uint64
	limit int
}

func newClasses(limit int) *classes { return &classes{byKey: map[uint64]*class{}, limit: limit} }

func (c *classes) of(p *nodes.Pod, rules []filter.Rule) *class {
	c.clock++
	key := classKey(p)
	k := c.byKey[key]
	if k == nil {
		if len(c.byKey) >= c.limit {
			c.forgetOldest()
		}
		k = &class{rules: filter.For(p, rules), affinity: score.NewNodeAffinity(p)}
		c.byKey[key] = k
	}
	k.pod, k.lastUsed = p, c.clock
	return k
}

func (c *classes) forgetOldest() {
	var oldest uint64
	first := true
	for key, k := range c.byKey {
		if first || k.lastUsed < c.byKey[oldest].lastUsed {
			oldest, first = key, false
		}
	}
	delete(c.byKey, oldest)
}

// podChanged keeps the topology counts of all classes up to date. Counts that were made for another layout have other row
// numbers; they are left alone, since refresh drops them before they are read.
func (c *classes) podChanged(p *nodes.Pod, n *nodes.Node, sign int32, layout uint64) {
	for _, k := range c.byKey {
		if k.topology != nil && k.layout == layout {
			k.topology.PodChanged(p, n, sign)
		}
	}
}

// forgetTopology drops the counts of all classes: a namespace's labels have changed, and selectors may read them.
func (c *classes) forgetTopology() {
	for _, k := range c.byKey {
		k.topology = nil
	}
}

// refresh makes the class fit the table's layout.
func (k *class) refresh(t *nodes.Table, namespaceLabels func(string) labels.Set) {
	if k.layout != t.Layout || len(k.gen) != len(t.Rows) {
		n := len(t.Rows)
		k.layout = t.Layout
		k.gen, k.verdict = make([]uint64, n), make([]*filter.Verdict, n)
		k.base, k.taints, k.prefer = make([]int64, n), make([]int64, n), make([]int64, n)
		k.topology = nil
	}
	if k.topology == nil {
		k.topology = filter.NewTopology(k.pod, t, namespaceLabels)
	}
	k.topology.Begin()
}

// look brings what the class knows about a row up to date.
func (k *class) look(n *nodes.Node, imageSpread func(string) float64) {
	i := n.Index
	k.gen[i] = n.Gen
	if k.verdict[i] = filter.Check(k.rules, k.pod, n); k.verdict[i] != nil {
		return
	}
	k.base[i] = score.WeightResources*score.LeastAllocated(k.pod, n) +
		score.WeightBalanced*score.BalancedAllocation(k.pod, n) +
		score.WeightImages*score.ImageLocality(k.pod, n, imageSpread)
	k.taints[i] = score.Taints(k.pod, n)
	if k.affinity != nil {
		k.prefer[i] = k.affinity.Score(n)
	}
}

// describeReasons is "1 Insufficient cpu, 2 node(s) were unschedulable", as upstream sorts it.
func describeReasons(count map[string]int) string {
	out := make([]string, 0, len(count))
	for reason, n := range count {
		out = append(out, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
