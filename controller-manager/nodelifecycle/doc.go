// Package nodelifecycle notices nodes that have fallen silent, and puts on nodes the taints that their conditions call for.
//
// It owns: the conditions of a silent node (they become Unknown), the node.kubernetes.io taints that follow from conditions
// and from spec.unschedulable, the labels beta.kubernetes.io/os and arch, and the Ready condition of pods on a node that
// has stopped being ready.
// It is woken by: nodes, their Leases, and the moment at which a node will have been silent for too long.
// It never touches: taints that others put, and pods' lives; package tainteviction ends those.
//
// Silence is measured by our own clock from when a heartbeat was last seen to change, so clocks may differ, and a process
// that has just begun to lead gives every node a full grace period. Before a node is declared silent its Lease is read
// from the server once more: it might be our cache that is behind.
//
// Evictions have a speed limit per zone, and when no node at all is ready nothing is evicted: then it is most likely this
// process that is cut off, or the whole cluster is starting.
package nodelifecycle
