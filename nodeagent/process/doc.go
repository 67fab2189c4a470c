// Package process knows processes that are not children of the agent: by id and start time together, which no other
// process ever has, so that a reused id is never taken for the old process, not even after the agent was restarted.
// Waiting costs no thread: pidfds are watched by the Go runtime's poller.
package process
