// Package replication keeps as many pods as a ReplicationController asks for. It shows ReplicationControllers to package
// replicaset as ReplicaSets: they differ in name and in how the selector is written, and in nothing else.
package replication
