package nodeipam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiff-project/skiff/controller-manager/control"
)

func (c *Controller) reconcile(ctx context.Context, key string) error {
	node, err := c.nodes.Get(key)
	if err != nil {
		delete(c.given, key)
		return nil
	}
	if node.Spec.PodCIDR != "" {
		delete(c.given, key)
		return nil
	}
	if c.given[key] != nil || node.DeletionTimestamp != nil {
		return nil // written; the cache will show it
	}
	all, err := c.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	ranges, err := plan(c.pools, used(all, c.given))
	if err != nil {
		c.events.Eventf(&corev1.ObjectReference{Kind: "Node", Name: node.Name, UID: node.UID}, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		return fmt.Errorf("node %s: %w", node.Name, err)
	}
	return c.give(ctx, node, ranges)
}

// used answers all ranges that nodes have or were given.
func used(nodes []*corev1.Node, given map[string][]netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, node := range nodes {
		for _, text := range append(slices.Clone(node.Spec.PodCIDRs), node.Spec.PodCIDR) {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				all = append(all, prefix)
			}
		}
	}
	for _, ranges := range given {
		all = append(all, ranges...)
	}
	return all
}

// plan answers a free range of each pool.
func plan(pools []pool, used []netip.Prefix) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, p := range pools {
		r, ok := p.free(used)
		if !ok {
			return nil, fmt.Errorf("no range is left in %s", p.whole)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

func (c *Controller) give(ctx context.Context, node *corev1.Node, ranges []netip.Prefix) error {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": texts[0], "podCIDRs": texts},
	})
	if err != nil {
		return err
	}
	_, err = c.env.Client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	if err == nil {
		c.given[node.Name] = ranges
	}
	return control.IgnoreNotFound(err)
}
