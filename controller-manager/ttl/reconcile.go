package ttl

import (
	"context"
	"encoding/json"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/controller-manager/control"
)

const annotation = corev1.ObjectTTLAnnotationKey

// steps overlap, so that a cluster that grows and shrinks by one node does not change all others each time.
var steps = []struct{ min, max, seconds int }{{0, 100, 0}, {90, 500, 15}, {450, 1000, 30}, {900, 2000, 60}, {1800, 1 << 31, 300}}

func (c *Controller) reconcile(ctx context.Context, key string) error {
	node, err := c.nodes.Get(key)
	if err != nil {
		return nil
	}
	all, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	if step := next(c.step, len(all)); step != c.step {
		c.step = step
		for _, other := range all {
			c.loop.Add(other.Name)
		}
	}
	wanted := strconv.Itoa(steps[c.step].seconds)
	if node.Annotations[annotation] == wanted {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{annotation: wanted}}})
	if err != nil {
		return err
	}
	_, err = c.env.Client.CoreV1().Nodes().Patch(ctx, key, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return control.IgnoreNotFound(err)
}

// next answers the step for that many nodes, coming from step.
func next(step, nodes int) int {
	for step < len(steps)-1 && nodes > steps[step].max {
		step++
	}
	for step > 0 && nodes < steps[step].min {
		step--
	}
	return step
}
