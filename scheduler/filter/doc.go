// Package filter says whether a pod may run on a node: one file a rule, under upstream's names and in upstream's words,
// since users and tools match on "0/3 nodes are available: 3 Insufficient cpu.".
//
// Local rules read the pod and one node, so that their verdict holds until the node changes. Topology rules
// (InterPodAffinity, PodTopologySpread) also depend on pods elsewhere; they keep counts per topology domain that follow
// every pod that comes and goes, and answer for a node by looking up its domain.
package filter
