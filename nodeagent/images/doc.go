// Package images keeps the images of a node: pulled from registries, read from archives, unpacked once and mounted by
// overlayfs.
//
// On disk, below the root folder:
//
//	records/<hex>.json   one image: its configuration, names and chain of layers
//	l/<n>/fs             one unpacked layer; n is short because all lower folders of a mount must fit into one page
//	l/<n>/layer.json     what it is: the chain id, that is the hash over this layer and all below it
//	l/<n>.new            a layer that is being unpacked; removed at the next start
//	spool/               downloads in flight; emptied at the next start
//
// A layer is keyed by its chain, not by its own content alone, since unpacking may look at the layers below: an archive
// that holds a/b but not a itself inherits the owner and mode of a.
//
// Compressed layers are not kept: nothing on a node ever needs them again.
//
// Crash safety. A layer appears by rename after it was unpacked and its hash checked. Whether its bytes reached the disk
// is another matter: a background sync follows, and until it is done the layer carries the boot id of the kernel that
// wrote it. After a power failure (another boot id) such a layer is thrown away together with the images that use it.
// That costs no pull the time of a sync, and a half-written layer is never used.
package images
