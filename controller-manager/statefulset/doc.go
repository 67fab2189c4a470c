// Package statefulset runs pods that have a name, a number and volumes of their own: web-0, web-1, web-2, one after the other
// unless asked otherwise, each replaced under its own name.
//
// It owns: the pods controlled by a StatefulSet, the claims made from its templates and their owner references, its
// ControllerRevisions, and its status.
// It is woken by: StatefulSets, their pods, claims and revisions. It never touches: volumes.
//
// Two pods of one name must never run at a time, so a pod is created only when the server says that the old one is gone,
// and a pod is never deleted by force.
package statefulset
