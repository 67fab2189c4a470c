package score

import (
	"strings"

	"github.com/skiff-project/skiff/scheduler/nodes"
)

// ImageLocality prefers a node that has the pod's images already: from 23 MB (0) to 1 GB per container (100), an image
// weighing the less the fewer nodes have it, so that not all pods pile up on one.
func ImageLocality(p *nodes.Pod, n *nodes.Node, spreadOf func(image string) float64) int64 {
	const low, high = 23 << 20, 1000 << 20
	var sum int64
	containers := int64(0)
	for i := range p.Obj.Spec.InitContainers {
		sum += present(p.Obj.Spec.InitContainers[i].Image, n, spreadOf)
		containers++
	}
	for i := range p.Obj.Spec.Containers {
		sum += present(p.Obj.Spec.Containers[i].Image, n, spreadOf)
		containers++
	}
	if containers == 0 || sum < low {
		return 0
	}
	most := int64(high) * containers
	return 100 * (min(sum, most) - low) / (most - low)
}

func present(image string, n *nodes.Node, spreadOf func(string) float64) int64 {
	name := NormalizedImage(image)
	size, ok := n.Images[name]
	if !ok {
		return 0
	}
	return int64(float64(size) * spreadOf(name))
}

// NormalizedImage adds the tag that a name without one means.
func NormalizedImage(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") && !strings.Contains(name, "@") {
		return name + ":latest"
	}
	return name
}
