// Package proxy makes Services reachable on a node: it watches Services and EndpointSlices, computes what has to happen
// (package rules) and applies the difference to the kernel (package iptables).
//
// One goroutine owns the rules. It applies a change at once; changes that arrive while it is busy are applied together
// next, so that a burst costs few transactions and a single change no delay.
package proxy
