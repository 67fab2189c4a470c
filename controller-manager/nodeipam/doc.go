// Package nodeipam gives each node a range of pod addresses of its own out of the cluster's ranges.
//
// It owns: spec.podCIDR and spec.podCIDRs of nodes, which it sets once. It is woken by: nodes.
// It never touches: a range that a node has, whoever gave it.
package nodeipam
