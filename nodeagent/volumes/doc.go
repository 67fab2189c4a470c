// Package volumes makes the volumes of a pod on this node and takes them away again.
//
// Everything of a pod lies below ROOT/pods/UID: volumes/NAME (a folder, or a mount over it), volume-subpaths (bind mounts that
// pin what a subPath meant when its container was made), and what others keep there. Removing a pod therefore is: unmount
// whatever is mounted below that folder, then remove it. Nothing but the kernel's mount table and the folder itself is needed to
// know what there is, so that an agent that was killed cleans up after itself.
//
// Volumes whose contents come from the API are written by an atomic writer: a reader sees all of the old files or all of the
// new ones. They lie in one tmpfs of the pod, as they may hold secrets.
package volumes
