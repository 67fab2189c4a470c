// Package queue orders pods that wait for a node. A pod that did not fit is parked: it returns when a change in the
// cluster could make it fit, after its back-off, and in any case after five minutes. Without the first, a drained cluster
// would stay idle for minutes after a node comes back; without the second, a pod that fits nowhere would be tried without
// end.
//
// The queue has one owner, the scheduler's loop. Time is an input.
package queue
