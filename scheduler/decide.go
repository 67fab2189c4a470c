package scheduler

import (
	"fmt"

	"github.com/skiff-project/skiff/scheduler/filter"
	"github.com/skiff-project/skiff/scheduler/nodes"
	"github.com/skiff-project/skiff/scheduler/score"
)

// refusal says why a pod fits nowhere.
type refusal struct {
	total    int
	general  string // the one reason that holds for every node
	reasons  map[string]int
	rejected map[string]bool // rules
	// candidates are rows where removing pods might help.
	candidates   []*nodes.Node
	unresolvable int
}

// Error is upstream's sentence without what preemption has to add.
func (r *refusal) Error() string {
	msg := fmt.Sprintf("0/%d nodes are available:", r.total)
	switch {
	case r.total == 0:
		return "no nodes available to schedule pods"
	case r.general != "":
		return msg + " " + r.general + "."
	case len(r.reasons) > 0:
		return msg + " " + describeReasons(r.reasons) + "."
	}
	return msg
}

func (r *refusal) add(v *filter.Verdict, n *nodes.Node) {
	for _, reason := range v.Reasons {
		r.reasons[reason]++
	}
	r.rejected[v.Rule] = true
	if v.Unresolvable {
		r.unresolvable++
	} else {
		r.candidates = append(r.candidates, n)
	}
}

// place is a feasible row with its raw scores.
type place struct {
	row    int32
	base   int64
	taints int64
	prefer int64
	spread float64
	pods   int64
}

// decide chooses the node for a pod, or says why there is none. It changes nothing but what classes remember.
func (s *Scheduler) decide(p *nodes.Pod) (*nodes.Node, *refusal) {
	t := s.table
	no := &refusal{total: len(t.Rows), reasons: map[string]int{}, rejected: map[string]bool{}}
	if p.InvalidReason != "" {
		no.general = p.InvalidReason
		return nil, no
	}
	if reason := s.volumes.Missing(p); reason != "" {
		no.general = reason
		no.rejected["VolumeBinding"] = true
		return nil, no
	}
	k := s.classes.of(p, s.rules)
	k.refresh(t, s.namespaceLabels)
	if n := s.nominatedFor(p); n != nil && s.fits(k, n) == nil {
		return n, nil
	}
	feasible := s.feasible[:0]
	hasSpread, hasPods := k.topology.HasSpreadScore(), k.topology.HasAffinityScore()
	for i, n := range t.Rows {
		v := s.fits(k, n)
		if v != nil {
			no.add(v, n)
			continue
		}
		f := place{row: int32(i), base: k.base[i], taints: k.taints[i], prefer: k.prefer[i]}
		if hasSpread {
			f.spread = k.topology.SpreadScore(i)
		}
		if hasPods {
			f.pods = k.topology.AffinityScore(i)
		}
		feasible = append(feasible, f)
	}
	s.feasible = feasible
	if len(feasible) == 0 {
		return nil, no
	}
	return t.Rows[s.best(feasible, hasSpread, hasPods)], nil
}

// fits is the first refusal of the row for the class, nominated pods included.
func (s *Scheduler) fits(k *class, n *nodes.Node) *filter.Verdict {
	if k.gen[n.Index] != n.Gen {
		k.look(n, s.imageSpread)
	}
	v := k.verdict[n.Index]
	if v == nil {
		v = k.topology.Check(n.Index)
	}
	if v != nil || len(s.nominated) == 0 {
		return v
	}
	return s.fitsBesideNominated(k, n)
}

// best is the row with the highest score. Rows that score the same take turns, so that equal pods on equal nodes spread.
func (s *Scheduler) best(feasible []place, hasSpread, hasPods bool) int32 {
	most := feasible[0]
	var leastSpread float64
	var leastPods int64
	for i := range feasible {
		f := &feasible[i]
		most.taints, most.prefer = max(most.taints, f.taints), max(most.prefer, f.prefer)
		if i == 0 {
			leastSpread, leastPods = f.spread, f.pods
		}
		most.spread, leastSpread = max(most.spread, f.spread), min(leastSpread, f.spread)
		most.pods, leastPods = max(most.pods, f.pods), min(leastPods, f.pods)
	}
	s.turn++
	offset := s.turn % len(feasible)
	winner, top := int32(-1), int64(-1)
	for i := range feasible {
		f := &feasible[(i+offset)%len(feasible)]
		total := f.base
		if most.taints > 0 {
			total += score.WeightTaints * (100 - 100*f.taints/most.taints)
		}
		if most.prefer > 0 {
			total += score.WeightNodeAffinity * (100 * f.prefer / most.prefer)
		}
		if hasSpread && most.spread > 0 {
			total += score.WeightSpread * int64(100*(most.spread+leastSpread-f.spread)/most.spread)
		}
		if hasPods && most.pods > leastPods {
			total += score.WeightInterPodAffinity * (100 * (f.pods - leastPods) / (most.pods - leastPods))
		}
		if total > top {
			winner, top = f.row, total
		}
	}
	return winner
}

// imageSpread is the part of the nodes that have an image.
func (s *Scheduler) imageSpread(image string) float64 {
	if s.imagesAt != s.table.ImagesGen() {
		clear(s.imageShare)
		s.imagesAt = s.table.ImagesGen()
	}
	share, ok := s.imageShare[image]
	if !ok {
		have := 0
		for _, n := range s.table.Rows {
			if _, ok := n.Images[image]; ok {
				have++
			}
		}
		share = float64(have) / float64(len(s.table.Rows))
		s.imageShare[image] = share
	}
	return share
}
