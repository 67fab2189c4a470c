// Package status says what the API shall show of the pods of this node, and is the only one who writes it there.
//
// Generate is pure: from a pod and what is known of its sandbox, containers and probes it works out phase, conditions and
// container statuses, in the words of the kubelet, since users and tools match on them. Writer brings the result to the
// API server: one patch at a time for each pod, the newest wish wins, nothing is sent that is there already.
package status
