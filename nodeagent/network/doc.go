// Package network gives pods their addresses and carries their packets.
//
// Every pod has a veth pair whose end on the node has no address and belongs to no bridge: the node routes. A pod knows
// one neighbour, the gateway, which is the first address of the node's pod range and sits on the interface skiff0;
// the node has one host route for each pod. Both ends know each other's hardware address from the start, so there is no
// ARP and no broadcast.
//
// Why no bridge: two pods on a bridge talk to each other past the node's connection tracking, so that the answer to a
// packet that went through a Service's address comes from the wrong address, unless br_netfilter is loaded and enabled.
// With routes every packet passes the node's rules, by construction.
//
// What nobody has is unreachable: the node's pod range and the cluster's range are routed to "unreachable", so that a
// packet to a pod that is gone gets an answer and never leaves the machine by some default route.
//
// Which address belongs to which sandbox is kept in one file per address (ipam/10.244.0.7 holds the sandbox's id), as
// the host-local CNI plug-in does, so that an agent that starts again knows it without asking the kernel.
package network
