// Package namespace empties a namespace that is being deleted and then lets it go.
//
// It owns: the status conditions of terminating namespaces and the finalizer "kubernetes" in their spec.
// It is woken by: namespaces, and the last pods of a terminating one going away.
// It never touches: namespaces that nobody has deleted.
//
// Pods go first: they may need their Secrets and ConfigMaps to end well. What else there is comes from discovery, so that
// custom resources go too. All kinds are then emptied side by side.
package namespace
