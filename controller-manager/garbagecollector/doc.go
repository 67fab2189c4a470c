// Package garbagecollector deletes objects whose owners are gone, and carries out what a deletion asks for: the dependents
// first (foreground), after (background), or not at all (orphan).
//
// It owns: the finalizers foregroundDeletion and orphan, and the existence of objects that have owner references.
// It is woken by: every change of every object that can be listed, watched and deleted, custom resources included.
// It never touches: objects without owner references, but for those two finalizers.
//
// The graph holds who owns whom, for all objects, by metadata alone: it is filled by one watch per resource, or by the
// shared informer where another controller has one anyway, and keeps no objects, only nodes. It may lag behind the server.
// So nothing is deleted on its word: every deletion carries the resource version at which the owner references were
// judged, and that an owner is absent is what a read of the server said. That an owner is present may be believed: if
// it no longer is, the event that says so is on its way and will bring the dependents back here.
package garbagecollector
