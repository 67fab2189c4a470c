// Package control is what a machine's init (package pid1) and the outside say to each other: the Spec that a machine is
// made from, and the requests that its init obeys afterwards over a unix socket.
//
// It imports no more than the standard library and x/sys, because it is linked into PID 1 of every machine, whose
// memory counts.
package control
