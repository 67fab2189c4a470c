// Package deployment rolls a Deployment's pod template out: one ReplicaSet per template, sizes shifted from the old ones to
// the new one as the strategy allows.
//
// It owns: the ReplicaSets controlled by a Deployment (it creates, adopts, releases, resizes and, beyond the history limit,
// deletes them) and the Deployment's status and revision annotation.
// It is woken by: Deployments, their ReplicaSets, and, for Recreate, the last pods of an old ReplicaSet going away.
// It never touches: pods, and a Deployment's spec.
//
// A ReplicaSet's name is derived from the template's hash, so a second create after a stale read is refused by the server
// instead of doubling the pods. The sizes follow upstream's rules exactly: both may take over from each other in the
// middle of a roll-out.
package deployment
