// Package admission says whether this node takes a pod that was assigned to it. The scheduler has asked the same before, from what
// it knew; a pod may also have been put here by name. What is refused is shown as a failed pod, with the kubelet's reasons.
// All functions are pure.
package admission
