// Package node keeps this node's Node object: it registers it, tells what the machine has (facts.go), in what state it is
// (status.go), and that it lives (a Lease). Node status is written when something changed, else every five minutes; the Lease,
// which costs little, every ten seconds.
package node
