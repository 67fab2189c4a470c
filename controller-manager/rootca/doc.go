// Package rootca publishes the cluster's certificate authority in every namespace, as ConfigMap kube-root-ca.crt: pods
// mount it to know the API server by.
//
// It owns: those ConfigMaps, which it restores when changed. It is woken by: namespaces and those ConfigMaps.
// It never touches: other ConfigMaps.
package rootca
