// Package daemonset runs one pod on every node that a DaemonSet is for.
//
// It owns: the pods controlled by a DaemonSet, its ControllerRevisions, and its status.
// It is woken by: DaemonSets, their pods and revisions, and nodes that come, go, or change labels or taints.
// It never touches: nodes. The scheduler binds the pods: each is made for one node by an affinity to its name, so that
// priorities, preemption and volumes work for it as for any other.
package daemonset
