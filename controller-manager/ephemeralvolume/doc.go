// Package ephemeralvolume makes the claims of pods' generic ephemeral volumes. The claim belongs to the pod and goes with it.
//
// It owns: claims named POD-VOLUME that the pod controls. It is woken by: pods with such volumes, and their claims.
// It never touches: a claim of that name that belongs to somebody else; the pod waits then.
package ephemeralvolume
