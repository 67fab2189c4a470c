// Package leader lets one of several equal processes do the work: the one that holds a Lease.
//
// The Lease is written as client-go's leaderelection writes it, so that our components and upstream's can stand by for
// each other. The loop is our own for two reasons. A candidate watches the Lease: it takes over the moment the leader
// gives it up, and at the very end of its duration otherwise, where client-go polls with a jitter of several seconds.
// And a leader that is asked to stop first lets its work end and gives the Lease back then, so that the next one starts
// at once and never beside it; client-go releases first.
//
// A leader that could not renew its Lease has no right to go on: its work is cancelled and Run answers an error, on
// which the process must end.
package leader
