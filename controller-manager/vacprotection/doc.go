// Package vacprotection keeps a VolumeAttributesClass that was deleted until no volume or claim names it any more.
//
// It owns: the finalizer kubernetes.io/vac-protection. It is woken by: classes, and volumes and claims that leave one.
// It never touches: volumes and claims.
package vacprotection
