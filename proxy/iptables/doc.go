// Package iptables applies what package rules computed, by iptables-restore. It has never heard of Services.
//
// What is there per port is kept small, since the kernel and iptables-restore pay for every chain:
//
//   - ClusterIPs are found by a tree: SKIFF-P-SERVICES holds one rule per /24 that is in use, the chain behind it one per
//     address and port. A new service touches one small chain however many there are.
//   - A port has one chain with a DNAT rule per endpoint. Endpoints get chains of their own only for session affinity.
//   - Hairpin traffic (a pod that reaches itself through a service) is masqueraded by one rule per local endpoint.
//   - ClusterIPs without endpoints need no rule at all: whatever goes to the service range and was not translated is
//     refused, so it never leaves the node.
//
// The difference to what was applied before goes to the kernel in one iptables-restore --noflush, a transaction per table.
package iptables
