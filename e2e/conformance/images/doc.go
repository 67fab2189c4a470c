// Package images makes the images that the official suite runs, under their own names and tags and without any
// registry: from programs of upstream's modules (package programs), from packages of Debian, and from busybox, which is
// built from source. They come to lie as one OCI layout, as an archive of it that `skiff image load` takes, and can
// be served to node agents as by a registry.
package images
