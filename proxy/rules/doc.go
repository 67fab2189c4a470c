// Package rules computes what the proxy has to do from Services and EndpointSlices: it is pure, reads no clock, network or
// cache, and knows nothing of iptables or nftables. What comes out says, for every address and port at which a service can
// be reached on this node, where traffic to it goes.
package rules
