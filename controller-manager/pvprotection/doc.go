// Package pvprotection keeps a PersistentVolume that was deleted until no claim is bound to it any more.
//
// It owns: the finalizer kubernetes.io/pv-protection. It is woken by: volumes. It never touches: claims.
package pvprotection
