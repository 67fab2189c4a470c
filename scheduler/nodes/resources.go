package nodes

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Resources is a ResourceList as plain numbers: CPU in milli-CPUs, the others in their own unit (bytes, pieces).
type Resources struct {
	CPU, Memory, Ephemeral, Pods int64
	// Scalar holds everything else: hugepages and extended resources.
	Scalar map[corev1.ResourceName]int64
}

func milli(n int64) *resource.Quantity { return resource.NewMilliQuantity(n, resource.DecimalSI) }
func bytes(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.BinarySI) }

// FromList reads a ResourceList.
func FromList(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.CPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Ephemeral = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if r.Scalar == nil {
				r.Scalar = map[corev1.ResourceName]int64{}
			}
			r.Scalar[name] = q.Value()
		}
	}
	return r
}

// add adds sign times q.
func (r *Resources) add(q *Resources, sign int64) {
	r.CPU += sign * q.CPU
	r.Memory += sign * q.Memory
	r.Ephemeral += sign * q.Ephemeral
	for name, n := range q.Scalar {
		if r.Scalar == nil {
			r.Scalar = map[corev1.ResourceName]int64{}
		}
		r.Scalar[name] += sign * n
	}
}
