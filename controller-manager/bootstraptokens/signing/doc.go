// Package signing signs the ConfigMap cluster-info in kube-public with every bootstrap token that is meant for it. A node
// that joins knows nothing but its token; by that signature it knows that address and authority come from its cluster.
//
// It owns: the keys jws-kubeconfig-TOKEN of that ConfigMap. It is woken by: it, and bootstrap tokens.
// It never touches: the kubeconfig in it, which somebody else writes.
package signing
