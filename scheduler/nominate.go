package scheduler

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/scheduler/filter"
	"github.com/skiff-project/skiff/scheduler/nodes"
)

// A nominated pod has had room made for it on a node by preemption and waits until its victims are gone. Until it is
// placed, pods of no higher priority must leave that room alone.
type nomination struct {
	pod  *nodes.Pod
	node string
}

func (s *Scheduler) nominate(p *nodes.Pod, node string) {
	if node == "" {
		delete(s.nominated, p.UID())
		return
	}
	s.nominated[p.UID()] = nomination{p, node}
}

// nominatedFor is the node that was promised to the pod, or nil.
func (s *Scheduler) nominatedFor(p *nodes.Pod) *nodes.Node {
	at, ok := s.nominated[p.UID()]
	if !ok {
		return nil
	}
	return s.table.Node(at.node)
}

// fitsBesideNominated asks the rules again with the pods that are promised the node already on it. (That the pod fits
// without them has been asked before: they may never come.)
func (s *Scheduler) fitsBesideNominated(k *class, n *nodes.Node) *filter.Verdict {
	var guests []*nodes.Pod
	for uid, at := range s.nominated {
		if at.node == n.Name && uid != k.pod.UID() && at.pod.Priority >= k.pod.Priority && !s.placed(uid) {
			guests = append(guests, at.pod)
		}
	}
	if guests == nil {
		return nil
	}
	for _, g := range guests {
		s.table.Put(g, n)
	}
	v := s.check(k, n)
	for _, g := range guests {
		s.table.Lift(g, n)
	}
	k.topology.Begin()
	return v
}

func (s *Scheduler) placed(uid types.UID) bool {
	_, _, ok := s.table.Pod(uid)
	return ok
}

// check asks all rules about a row as it is now, without remembering the answer.
func (s *Scheduler) check(k *class, n *nodes.Node) *filter.Verdict {
	if v := filter.Check(k.rules, k.pod, n); v != nil {
		return v
	}
	k.topology.Begin()
	return k.topology.Check(n.Index)
}
