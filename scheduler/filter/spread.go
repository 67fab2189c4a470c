package filter

import (
	"math"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// spreadCount counts the pods of one topology spread constraint in each domain.
type spreadCount struct {
	constraint *nodes.Constraint
	domain     *nodes.Domains
	count      []int32
	// eligible says which rows take part; present how many of them are in each domain.
	eligible []bool
	present  []int32
	self     int32
	weight   float64

	// made by begin
	least   int32
	domains int32
}

func newSpreadCount(p *nodes.Pod, c *nodes.Constraint, t *nodes.Table) *spreadCount {
	d := t.Domains(c.Key)
	s := &spreadCount{constraint: c, domain: d, count: make([]int32, d.Count), present: make([]int32, d.Count), eligible: make([]bool, len(t.Rows))}
	if c.Counts(p, p) {
		s.self = 1
	}
	for i, n := range t.Rows {
		s.eligible[i] = d.Of[i] >= 0 && (!c.HonorAffinity || matchesNode(p, n)) && (!c.HonorTaints || toleratesNode(p, n)) && hasKeys(p, c.Hard, n)
		if s.eligible[i] {
			s.present[d.Of[i]]++
		}
	}
	for _, n := range s.present {
		if n > 0 {
			s.domains++
		}
	}
	// The more domains, the more a single pod weighs: upstream's normalising weight.
	s.weight = math.Log(float64(s.domains + 2))
	return s
}

// hasKeys says whether the node has the topology keys of all hard constraints of the pod: only such nodes count.
func hasKeys(p *nodes.Pod, hard bool, n *nodes.Node) bool {
	if !hard {
		return true
	}
	for i := range p.Spread {
		if c := &p.Spread[i]; c.Hard {
			if _, ok := n.Obj.Labels[c.Key]; !ok {
				return false
			}
		}
	}
	return true
}

func toleratesNode(p *nodes.Pod, n *nodes.Node) bool {
	for i := range n.Obj.Spec.Taints {
		if t := &n.Obj.Spec.Taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(p, t) {
			return false
		}
	}
	return true
}

func (s *spreadCount) podChanged(p, q *nodes.Pod, n *nodes.Node, sign int32) {
	if s.eligible[n.Index] && s.constraint.Counts(p, q) {
		s.count[s.domain.Of[n.Index]] += sign
	}
}

// begin finds the least filled domain, which the skew is measured against.
func (s *spreadCount) begin() {
	if !s.constraint.Hard {
		return
	}
	s.least = 0
	if s.domains < s.constraint.MinDomains {
		return
	}
	s.least = math.MaxInt32
	for d, n := range s.count {
		if s.present[d] > 0 && n < s.least {
			s.least = n
		}
	}
}

func (s *spreadCount) check(row int) *Verdict {
	if !s.constraint.Hard {
		return nil
	}
	d := s.domain.Of[row]
	if d < 0 {
		return spreadMissing
	}
	var here int32
	if s.present[d] > 0 {
		here = s.count[d]
	}
	if here+s.self-s.least > s.constraint.MaxSkew {
		return spreadSkew
	}
	return nil
}

// HasSpreadScore reports whether the pod has soft constraints.
func (s *Topology) HasSpreadScore() bool {
	for _, c := range s.spread {
		if !c.constraint.Hard && c.domain.Count > 0 {
			return true
		}
	}
	return false
}

// SpreadScore is the raw score of the row by soft constraints: the more pods are there already, the higher, so that the
// lowest is the best place.
func (s *Topology) SpreadScore(row int) float64 {
	var sum float64
	for _, c := range s.spread {
		if c.constraint.Hard {
			continue
		}
		if d := c.domain.Of[row]; d >= 0 {
			sum += float64(c.count[d])*c.weight + float64(c.constraint.MaxSkew-1)
		}
	}
	return sum
}
