// Package run starts the parts of a process in order and stops them in the opposite order.
//
// A process ends when it is told to (SIGTERM, SIGINT, its context) or when one of its parts ends; in the second case it
// ends with a reason, also when the part merely returned: a controller-manager whose informers have stopped, or an API
// server without its listener, is worse than none, because whoever supervises it sees a process that still runs.
package run
