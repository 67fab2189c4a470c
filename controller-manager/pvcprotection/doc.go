// Package pvcprotection keeps a PersistentVolumeClaim that was deleted until no pod uses it any more.
//
// It owns: the finalizer kubernetes.io/pvc-protection. It is woken by: claims, and pods that end or go.
// It never touches: volumes and pods.
package pvcprotection
