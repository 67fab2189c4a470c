// Package replicaset keeps as many pods as a ReplicaSet asks for.
//
// It owns: pods controlled by a ReplicaSet (it creates, adopts, releases and deletes them) and the ReplicaSet's status.
// It is woken by: ReplicaSets, their pods, and orphan pods that one might adopt.
// It never touches: a ReplicaSet's spec, or pods of another controller.
//
// ReplicationControllers are the same thing under an older name: package replication shows them to this one as
// ReplicaSets.
package replicaset
