// Package pvbinder brings claims and volumes together.
//
// It owns: spec.claimRef and the phase of PersistentVolumes, spec.volumeName, the annotations pv.kubernetes.io/* and the
// phase of PersistentVolumeClaims. It is woken by: claims, volumes, storage classes.
// It never touches: storage. Making and deleting volumes is the work of the class's provisioner, which it names on the claim.
//
// A volume is bound in steps, each of which may be the last before a crash: the volume names the claim (from then on no
// other claim can have it), the claim names the volume, both are told so in their status. Whoever comes next goes on from
// what is written.
package pvbinder
