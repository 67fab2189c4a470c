package filter

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// Topology holds, for the pods of one class, how many pods that matter to them run in each topology domain.
// It belongs to the scheduler's loop. After a change of the table's Layout it must be built anew.
type Topology struct {
	pod             *nodes.Pod
	namespaceLabels func(string) labels.Set
	table           *nodes.Table

	spread       []*spreadCount
	affinity     []*termCount // pods that match the pod's required affinity terms
	antiAffinity []*termCount // pods that match the pod's required anti-affinity terms
	// existing counts required anti-affinity terms of placed pods that match this pod, by topology key.
	existing map[string][]int32
	// matching is how many pods match all affinity terms; where there is none, a pod that matches its own terms
	// may be the first.
	matching int
	selfAll  bool
	// preferred is the score of each domain by topology key: weights of the pod's own preferred terms for the pods
	// there, and of the terms of those pods for this one.
	preferred map[string][]int64
}

type termCount struct {
	term   nodes.Term
	domain *nodes.Domains
	count  []int32
}

// NewTopology counts the pods of the whole table for a pod. It returns nil if nothing about the pod and nothing about
// the placed pods makes topology matter; needed reports whether any placed pod has affinity terms of its own.
func NewTopology(p *nodes.Pod, t *nodes.Table, namespaceLabels func(string) labels.Set) *Topology {
	s := &Topology{pod: p, namespaceLabels: namespaceLabels, table: t, existing: map[string][]int32{}, preferred: map[string][]int64{}}
	for i := range p.Spread {
		s.spread = append(s.spread, newSpreadCount(p, &p.Spread[i], t))
	}
	s.selfAll = len(p.Affinity) > 0
	for _, term := range p.Affinity {
		d := t.Domains(term.TopologyKey)
		s.affinity = append(s.affinity, &termCount{term, d, make([]int32, d.Count)})
		s.selfAll = s.selfAll && term.Matches(p, namespaceLabels)
	}
	for _, term := range p.AntiAffinity {
		d := t.Domains(term.TopologyKey)
		s.antiAffinity = append(s.antiAffinity, &termCount{term, d, make([]int32, d.Count)})
	}
	for _, n := range t.Rows {
		for _, q := range n.Pods {
			s.PodChanged(q, n, 1)
		}
	}
	return s
}

// PodChanged follows a pod that came to a row (sign 1) or left it (-1).
func (s *Topology) PodChanged(q *nodes.Pod, n *nodes.Node, sign int32) {
	for _, c := range s.spread {
		c.podChanged(s.pod, q, n, sign)
	}
	if len(s.affinity) > 0 && s.matchesAllAffinity(q) {
		// Upstream counts a pod only if it matches every term (and then for every term's own topology).
		for _, c := range s.affinity {
			if d := c.domain.Of[n.Index]; d >= 0 {
				c.count[d] += sign
			}
		}
		s.matching += int(sign)
	}
	for _, c := range s.antiAffinity {
		if d := c.domain.Of[n.Index]; d >= 0 && c.term.Matches(q, s.namespaceLabels) {
			c.count[d] += sign
		}
	}
	for i := range q.AntiAffinity {
		term := &q.AntiAffinity[i]
		if !term.Matches(s.pod, s.namespaceLabels) {
			continue
		}
		domains := s.table.Domains(term.TopologyKey)
		if d := domains.Of[n.Index]; d >= 0 {
			if s.existing[term.TopologyKey] == nil {
				s.existing[term.TopologyKey] = make([]int32, domains.Count)
			}
			s.existing[term.TopologyKey][d] += sign
		}
	}
	s.scoreChanged(q, n, int64(sign))
}

func (s *Topology) matchesAllAffinity(q *nodes.Pod) bool {
	for _, c := range s.affinity {
		if !c.term.Matches(q, s.namespaceLabels) {
			return false
		}
	}
	return true
}

// scoreChanged keeps the sums behind the preferred terms. A required affinity term of a placed pod counts with upstream's
// hardPodAffinityWeight of 1.
func (s *Topology) scoreChanged(q *nodes.Pod, n *nodes.Node, sign int64) {
	add := func(key string, weight int64) {
		domains := s.table.Domains(key)
		d := domains.Of[n.Index]
		if d < 0 {
			return
		}
		if s.preferred[key] == nil {
			s.preferred[key] = make([]int64, domains.Count)
		}
		s.preferred[key][d] += sign * weight
	}
	terms := func(list []nodes.Term, target *nodes.Pod, factor int64) {
		for i := range list {
			if list[i].Matches(target, s.namespaceLabels) {
				add(list[i].TopologyKey, factor*int64(list[i].Weight))
			}
		}
	}
	terms(s.pod.PreferredAffinity, q, 1)
	terms(s.pod.PreferredAntiAffinity, q, -1)
	terms(q.PreferredAffinity, s.pod, 1)
	terms(q.PreferredAntiAffinity, s.pod, -1)
	for i := range q.Affinity {
		if q.Affinity[i].Matches(s.pod, s.namespaceLabels) {
			add(q.Affinity[i].TopologyKey, 1)
		}
	}
}

// Begin prepares for one pass over the rows: call it after the last PodChanged and before Check.
func (s *Topology) Begin() {
	for _, c := range s.spread {
		c.begin()
	}
}

// Verdicts that carry no node are made once.
var (
	spreadMissing = &Verdict{Rule: "PodTopologySpread", Reasons: []string{"node(s) didn't match pod topology spread constraints (missing required label)"}, Unresolvable: true}
	spreadSkew    = &Verdict{Rule: "PodTopologySpread", Reasons: []string{"node(s) didn't match pod topology spread constraints"}}
	affinityNo    = &Verdict{Rule: "InterPodAffinity", Reasons: []string{"node(s) didn't match pod affinity rules"}, Unresolvable: true}
	antiNo        = &Verdict{Rule: "InterPodAffinity", Reasons: []string{"node(s) didn't match pod anti-affinity rules"}}
	existingNo    = &Verdict{Rule: "InterPodAffinity", Reasons: []string{"node(s) didn't satisfy existing pods anti-affinity rules"}}
)

// Check refuses the row or returns nil.
func (s *Topology) Check(row int) *Verdict {
	for _, c := range s.spread {
		if v := c.check(row); v != nil {
			return v
		}
	}
	met := true
	for _, c := range s.affinity {
		d := c.domain.Of[row]
		if d < 0 {
			return affinityNo
		}
		met = met && c.count[d] > 0
	}
	if !met && (s.matching > 0 || !s.selfAll) {
		return affinityNo
	}
	for _, c := range s.antiAffinity {
		if d := c.domain.Of[row]; d >= 0 && c.count[d] > 0 {
			return antiNo
		}
	}
	for key, count := range s.existing {
		if d := s.table.Domains(key).Of[row]; d >= 0 && count[d] > 0 {
			return existingNo
		}
	}
	return nil
}

// AffinityScore is the raw score of the row by preferred terms; has is false if no term says anything about any row.
func (s *Topology) AffinityScore(row int) int64 {
	var sum int64
	for key, score := range s.preferred {
		if d := s.table.Domains(key).Of[row]; d >= 0 {
			sum += score[d]
		}
	}
	return sum
}

// HasAffinityScore reports whether AffinityScore can differ from 0.
func (s *Topology) HasAffinityScore() bool { return len(s.preferred) > 0 }

// InterPodAffinityWokenBy and SpreadWokenBy are the wake-up rules of the two topology rules.
func InterPodAffinityWokenBy(_ *nodes.Pod, e Event) bool {
	return nodeCame(e) || e.Change.Labels || e.Gone != nil || e.Came != nil || e.Relabeled != nil || e.Namespace
}

// SpreadWokenBy says whether a change can let a pod in that PodTopologySpread has refused.
func SpreadWokenBy(p *nodes.Pod, e Event) bool {
	if nodeCame(e) || e.Change.Labels || e.Change.Taints {
		return true
	}
	for _, q := range []*nodes.Pod{e.Gone, e.Came, e.Relabeled} {
		if q != nil && q.Key.Namespace == p.Key.Namespace {
			return true
		}
	}
	return false
}
