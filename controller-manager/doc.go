// Package controllermanager runs the controllers: the loops that make the cluster's state what its objects ask for. All of
// them live in one process, on one informer factory and one connection, and only while the process holds the Lease
// kube-system/kube-controller-manager. controllers.go is the list of them.
package controllermanager
