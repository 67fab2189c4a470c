// Package alloc hands out what Services have from the cluster: their addresses and their ports on every node.
//
// An address is taken by creating the IPAddress object of its name: whoever comes second is refused by etcd, through
// whichever API server. Ports are bits of one object, changed by compare and swap. Both are as upstream keeps them, so
// that its API server and ours can share an etcd. What a crash leaves behind is put right by Repair.
package alloc
