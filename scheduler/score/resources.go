package score

import (
	"math"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// LeastAllocated (NodeResourcesFit) prefers the node that has most left, CPU and memory weighing the same.
func LeastAllocated(p *nodes.Pod, n *nodes.Node) int64 {
	part := func(used, have int64) int64 {
		if have == 0 || used > have {
			return 0
		}
		return (have - used) * 100 / have
	}
	sum, resources := int64(0), int64(0)
	if n.Allocatable.CPU > 0 {
		sum, resources = sum+part(n.NonZero.CPU+p.NonZero.CPU, n.Allocatable.CPU), resources+1
	}
	if n.Allocatable.Memory > 0 {
		sum, resources = sum+part(n.NonZero.Memory+p.NonZero.Memory, n.Allocatable.Memory), resources+1
	}
	if resources == 0 {
		return 0
	}
	return sum / resources
}

// BalancedAllocation prefers the node whose CPU and memory are used evenly, by how much the pod improves that. Pods that
// ask for neither say nothing.
func BalancedAllocation(p *nodes.Pod, n *nodes.Node) int64 {
	if p.Request.CPU == 0 && p.Request.Memory == 0 {
		return 0
	}
	with := balance(n.Requested.CPU+p.Request.CPU, n.Requested.Memory+p.Request.Memory, n)
	without := balance(n.Requested.CPU, n.Requested.Memory, n)
	return 50 + (50+with-without)/2
}

// balance is 100 where CPU and memory are used to the same part, 50 where one is full and the other idle.
func balance(cpu, memory int64, n *nodes.Node) int64 {
	if n.Allocatable.CPU == 0 || n.Allocatable.Memory == 0 {
		return 100
	}
	a := min(float64(cpu)/float64(n.Allocatable.CPU), 1)
	b := min(float64(memory)/float64(n.Allocatable.Memory), 1)
	return int64((1 - math.Abs(a-b)/2) * 100)
}
